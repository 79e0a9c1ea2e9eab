"""Objects are created once, checked, read, listed and signed for; what a store refuses is told in words."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import socket
import sys

import pytest

from runner.errors import UsageError
from runner.objects.address import ObjectAddress
from runner.objects.store import PART, ObjectError, ObjectFacts, ObjectStore, ObjectTrouble, Source
from tests.support.s3 import S3, SECRET, StoreFault

SMALL = b"a small film"
LARGE = bytes(range(256)) * ((2 * PART + 4096) // 256)


@pytest.fixture
def store(s3: S3) -> ObjectStore:
    return ObjectStore.open(ObjectAddress.parse(f"s3://{s3.bucket()}/callsheet"))


def source(content: bytes) -> Source:
    return lambda: io.BytesIO(content)


def create(store: ObjectStore, content: bytes, key: str = "sha256/film.mp4") -> None:
    store.create(key, source(content), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def trouble_of(error: pytest.ExceptionInfo[ObjectError]) -> ObjectTrouble:
    assert SECRET not in str(error.value)
    return error.value.trouble


@pytest.mark.parametrize("content", [b"", SMALL, LARGE])
def test_what_is_created_can_be_looked_at_and_read(content: bytes, store: ObjectStore, s3: S3) -> None:
    create(store, content)
    facts = store.facts("sha256/film.mp4")
    assert facts is not None
    assert facts.size == len(content)
    assert b"".join(store.read("sha256/film.mp4")) == content
    assert s3.keys(store.address.bucket) == ["callsheet/sha256/film.mp4"]
    assert [*store.list()] == [("sha256/film.mp4", len(content))]


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_what_is_there_already_is_not_put_again(content: bytes, store: ObjectStore, s3: S3) -> None:
    create(store, content)
    before = s3.count("PUT|POST")
    create(store, content)
    assert s3.count("PUT|POST") - before == (1 if content is SMALL else 0)
    assert b"".join(store.read("sha256/film.mp4")) == content


@pytest.mark.fault(141)
@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("there", ["shorter", "of the same length"])
def test_another_content_under_the_key_is_told_and_left(
    there: str, content: bytes, store: ObjectStore, s3: S3
) -> None:
    other = content[1:] if there == "shorter" else b"?" + content[1:]
    s3.put(store.address.bucket, "callsheet/sha256/film.mp4", other)
    with pytest.raises(ObjectError) as error:
        create(store, content)
    assert trouble_of(error) is ObjectTrouble.OTHER_CONTENT
    assert s3.get(store.address.bucket, "callsheet/sha256/film.mp4") == other


@pytest.mark.parametrize(("etag", "reads"), [("", 0), ('"0x8D"', 1), (f'"{"0" * 32}-3"', 1)])
def test_an_etag_that_is_no_md5_has_the_object_read(
    etag: str, reads: int, store: ObjectStore, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with SSE-KMS, in Azure, and where the parts had another size."""
    create(store, LARGE)
    before = s3.count("GET")
    if etag:
        monkeypatch.setattr(store, "facts", lambda _: ObjectFacts(len(LARGE), etag))
    create(store, LARGE)
    assert s3.count("GET") == before + reads


def test_a_content_that_is_not_its_digest_makes_no_object(store: ObjectStore, s3: S3) -> None:
    for content in (SMALL, LARGE):
        with pytest.raises(ObjectError) as error:
            store.create("k", source(content), sha256="0" * 64, size=len(content))
        assert trouble_of(error) is ObjectTrouble.CHANGED
    assert s3.keys(store.address.bucket) == []
    assert s3.unfinished(store.address.bucket) == 0


def test_a_part_that_cannot_be_read_makes_no_object(store: ObjectStore, s3: S3) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= PART:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(ObjectError) as error:
        store.create("k", lambda: Broken(LARGE), sha256=hashlib.sha256(LARGE).hexdigest(), size=len(LARGE))
    assert trouble_of(error) is ObjectTrouble.CHANGED
    assert s3.keys(store.address.bucket) == []


@pytest.mark.fault(140)
@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize(
    "fault", [StoreFault(cut=True), StoreFault(cut=True, arrives=False), StoreFault(status=503)]
)
def test_an_answer_that_is_lost_once_is_asked_for_again(
    fault: StoreFault, content: bytes, store: ObjectStore, s3: S3
) -> None:
    s3.fail("PUT|POST", "film", fault, times=1)
    create(store, content)
    assert b"".join(store.read("sha256/film.mp4")) == content
    assert s3.keys(store.address.bucket) == ["callsheet/sha256/film.mp4"]


@pytest.mark.fault(142)
def test_a_missing_bucket_is_told_in_words(s3: S3) -> None:
    store = ObjectStore.open(ObjectAddress.parse("s3://no-such-bucket/callsheet"))

    def listed() -> None:
        assert [*store.list()] == []

    for ask in (lambda: create(store, SMALL), lambda: create(store, LARGE), listed):
        with pytest.raises(ObjectError, match="there is no such bucket") as error:
            ask()
        assert trouble_of(error) is ObjectTrouble.NO_BUCKET


@pytest.mark.fault(142)
@pytest.mark.parametrize(
    ("status", "code", "trouble", "said"),
    [
        (403, "AccessDenied", ObjectTrouble.REFUSED, "refuses these credentials"),
        (401, "InvalidToken", ObjectTrouble.REFUSED, "refuses these credentials"),
        (404, "NoSuchBucket", ObjectTrouble.NO_BUCKET, "no such bucket"),
        (400, "EntityTooLarge", ObjectTrouble.OTHER, "refuses it"),
    ],
)
def test_a_refusal_says_what_to_check(
    status: int, code: str, trouble: ObjectTrouble, said: str, store: ObjectStore, s3: S3
) -> None:
    s3.fail("PUT", "film", StoreFault(status=status, code=code))
    with pytest.raises(ObjectError, match=said) as error:
        create(store, SMALL)
    assert trouble_of(error) is trouble
    assert code in str(error.value)
    assert s3.count("PUT", "film") == 1


@pytest.mark.fault(140)
def test_a_store_that_is_not_there_is_told_soon(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = ObjectStore.open(ObjectAddress.parse("s3://bucket"))
    with pytest.raises(ObjectError, match="does not answer") as error:
        create(store, SMALL)
    assert trouble_of(error) is ObjectTrouble.UNREACHABLE


def test_a_missing_object_is_none_or_told(store: ObjectStore) -> None:
    assert store.facts("sha256/none") is None
    with pytest.raises(ObjectError) as error:
        b"".join(store.read("sha256/none"))
    assert trouble_of(error) is ObjectTrouble.MISSING


def test_an_address_that_is_signed_gives_the_object_to_anybody(store: ObjectStore) -> None:
    import urllib.request

    create(store, SMALL)
    url = store.signed("sha256/film.mp4", 60)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url) as answer:
        assert answer.read() == SMALL
    assert SECRET not in url


@pytest.mark.security(27)
def test_plain_http_goes_to_loopback_alone(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url.replace("127.0.0.1", "store.example"))
    store = ObjectStore.open(ObjectAddress.parse("s3://bucket"))
    with pytest.raises(ObjectError) as error:
        store.facts("key")
    assert trouble_of(error) is ObjectTrouble.UNREACHABLE


@pytest.mark.security(27)
@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_to_another_host_is_not_followed(
    status: int, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token would go there, and what that host says would be taken for the store's word."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)
    bucket = s3.bucket()
    with contextlib.closing(socket.create_server(("127.0.0.2", 0))) as elsewhere:
        elsewhere.setblocking(False)
        location = f"http://127.0.0.2:{elsewhere.getsockname()[1]}"
        s3.fail("HEAD", "film", StoreFault(status=status, location=location))
        with pytest.raises(ObjectError) as error:
            ObjectStore.open(ObjectAddress.parse(f"s3://{bucket}/callsheet")).facts("sha256/film.mp4")
        assert trouble_of(error) is ObjectTrouble.UNREACHABLE
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_the_environments_proxy_is_used_only_where_it_is_trusted(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    again = ObjectStore.open(store.address)
    assert again.facts("key") is None


def test_a_missing_extra_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UsageError, match=r"pip install 'callsheet\[objects\]'"):
        ObjectStore.open(ObjectAddress.parse("s3://bucket"))


def test_an_error_comes_whole_from_another_process() -> None:
    error = ObjectError(ObjectTrouble.REFUSED, "no", hint="yes")
    again = pickle.loads(pickle.dumps(error))
    assert (again.trouble, again.message, again.hint, str(again)) == (
        ObjectTrouble.REFUSED,
        "no",
        "yes",
        "no; hint: yes",
    )
