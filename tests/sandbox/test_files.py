"""Downloads: signatures, ranges and ETags; wanted_range against RFC 9110."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox import SandboxConfig, SandboxServer
from runner.sandbox.results.files import RangeNotSatisfiable, Signer, wanted_range
from tests.support.sandbox_requests import connect, create, get, get_file


@pytest.fixture
def video(client: httpx.Client) -> str:
    return str(get(client, create(client))["content"]["video_url"])


def test_a_download_needs_no_key_and_says_what_it_is(video: str) -> None:
    answer = get_file(video)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert "content-encoding" not in answer.headers


def test_head_is_get_without_a_body(video: str) -> None:
    whole, head = get_file(video), httpx.head(video)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
        ("bytes=10-99999999", slice(10, None)),
    ],
)
def test_a_range_is_206_with_that_part(video: str, header: str, part: slice) -> None:
    whole = get_file(video).content
    answer = get_file(video, headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == whole[part]
    first, last = range(len(whole))[part][0], range(len(whole))[part][-1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_range_past_the_end_is_416(video: str) -> None:
    size = len(get_file(video).content)
    answer = get_file(video, headers={"Range": f"bytes={size}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_if_range_gives_a_part_of_the_same_file_only(video: str) -> None:
    whole = get_file(video)
    etag = whole.headers["etag"]
    same = get_file(video, headers={"Range": "bytes=5-", "If-Range": etag})
    other = get_file(video, headers={"Range": "bytes=5-", "If-Range": '"another"'})
    assert (same.status_code, same.content) == (206, whole.content[5:])
    assert (other.status_code, other.content) == (200, whole.content)


def test_a_changed_signature_name_or_expiry_is_403(video: str) -> None:
    for wrong in (
        video[:-1] + ("0" if video[-1] != "0" else "1"),
        video.replace("video.mp4", "last_frame.png"),
        video.replace("exp=", "exp=9"),
        video.partition("?")[0],
        video.partition("sig=")[0] + "sig=%C3%A9",
    ):
        assert get_file(wrong).status_code == 403


def test_an_expired_url_is_403_and_a_get_gives_a_fresh_one() -> None:
    with (
        SandboxServer(SandboxConfig(latency=(0, 0), url_ttl=0)) as server,
        connect(server) as client,
    ):
        task = get(client, create(client))
        assert get_file(task["content"]["video_url"]).status_code == 403


@given(st.text(), st.text(), st.text())
def test_no_made_up_signature_is_valid(expires: str, signature: str, name: str) -> None:
    assert not Signer(b"secret", 60).is_valid("t-1", name, expires, signature, 0)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_range_is_the_same_slice_as_pythons(first: int, last: int, size: int) -> None:
    whole = bytes(range(size))
    try:
        part = wanted_range(f"bytes={first}-{last}", None, '"e"', size)
    except RangeNotSatisfiable:
        assert first >= size
        return
    if last < first:
        assert part is None
    else:
        assert part is not None
        assert whole[slice(*part)] == whole[first : last + 1] != b""


@given(st.integers(1, 30), st.integers(1, 20))
def test_a_suffix_range_is_the_end(count: int, size: int) -> None:
    whole = bytes(range(size))
    part = wanted_range(f"bytes=-{count}", None, '"e"', size)
    assert part is not None
    assert whole[slice(*part)] == whole[-count:]


@pytest.mark.parametrize(
    "header", [None, "", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=5-2"]
)
def test_what_is_no_single_range_means_everything(header: str | None) -> None:
    assert wanted_range(header, None, '"e"', 10) is None


def test_the_last_none_bytes_cannot_be_satisfied() -> None:
    with pytest.raises(RangeNotSatisfiable):
        wanted_range("bytes=-0", None, '"e"', 10)
