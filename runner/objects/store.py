"""One bucket, or a prefix in it: objects are created once, read, listed and signed for. Blocking.

Everything goes through obstore, which is an extra and imported when a store is opened. What it raises is
translated here, and nothing that it says is repeated where it could hold a credential.

A key is that of a content, so an object is never replaced: a small one is put by the store's own conditional
create, a large one by a multipart upload after a look, because obstore's multipart knows no condition. Two
machines that put one content at once put the same bytes.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import SplitResult, urlsplit

from runner.errors import UsageError
from runner.http.access import is_loopback_host
from runner.http.route import DIRECT, Route
from runner.objects.address import SCHEMES, ObjectAddress
from runner.redact import printable

if TYPE_CHECKING:
    from obstore import SignCapableStore
    from obstore.store import ObjectStore as _Bucket

PART = 8 << 20
"""Bytes of a part. What is not larger is put whole, and then is in memory once."""

_CHUNK = 1 << 20
_PARTS_AT_ONCE = 4
_RETRIES = 4
_RETRY_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 30.0
"""Without a byte from the store."""
_REQUEST_SECONDS = 600.0
"""For one request: a part, at 110 kbit a second."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_REGION",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist", "InvalidBucketName")
_NO_CREDENTIALS = ("169.254.", "metadata.google", "Missing credentials", "MissingAccountKey", "credentials")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_MD5 = re.compile(r'"?([0-9a-f]{32}(?:-\d+)?)"?')
"""S3's etag: of a content that was put whole, or in so many parts."""


Source = Callable[[], BinaryIO]
"""Opens a content for reading from its beginning. Raises OSError."""


class ObjectTrouble(enum.StrEnum):
    """The kinds of trouble with a store, by what can be done about them."""

    MISSING = "missing"
    """There is no such object."""
    OTHER_CONTENT = "other content"
    """An object has that key, and not this content."""
    CHANGED = "changed"
    """What should be put has another content than its digest says."""
    NO_BUCKET = "no bucket"
    REFUSED = "refused"
    """No credentials, or they may not do this."""
    UNREACHABLE = "unreachable"
    """No answer, or one that says to try again later."""
    OTHER = "other"

    @property
    def is_of_store(self) -> bool:
        """Whether every other object has the same trouble."""
        return self in (ObjectTrouble.NO_BUCKET, ObjectTrouble.REFUSED, ObjectTrouble.UNREACHABLE)


class ObjectError(Exception):
    """A store did not do what was asked. `str()` is a sentence for a person, without any secret."""

    def __init__(self, trouble: ObjectTrouble, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}; hint: {hint}" if hint else message)
        self.trouble = trouble
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., ObjectError], tuple[object, ...]]:
        return _error, (self.trouble, self.message, self.hint)  # it may come from another process


def _error(trouble: ObjectTrouble, message: str, hint: str) -> ObjectError:
    return ObjectError(trouble, message, hint=hint)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """`etag` changes when the content does; empty where the store tells none."""

    size: int
    etag: str


class ObjectStore:
    """What lies below `address`. Keys are relative to it. Every method raises ObjectError."""

    def __init__(self, address: ObjectAddress, bucket: _Bucket) -> None:
        self.address = address
        self._bucket = bucket

    @classmethod
    def open(
        cls, address: ObjectAddress, route: Route = DIRECT, environment: Mapping[str, str] = os.environ
    ) -> ObjectStore:
        """With the credentials that the environment holds. No request is made.

        Raises UsageError where the extra is missing or a setting in the environment cannot be used.
        """
        try:
            # an extra, and only projects with a store need it
            from obstore.store import from_url
        except ImportError as error:
            raise UsageError(
                f"{address}: needs the extra `objects`", hint="pip install 'callsheet[objects]'"
            ) from error
        try:
            bucket = from_url(
                str(address),
                client_options=_client_options(address, route, environment),
                retry_config={
                    "max_retries": _RETRIES,
                    "retry_timeout": datetime.timedelta(seconds=_RETRY_SECONDS),
                },
            )
        except Exception as error:  # obstore has no one base for them
            name = SCHEMES[address.scheme]
            raise UsageError(
                f"{address}: {name} cannot be used with the environment's settings: {_first_line(error)}",
                hint=f"set {_CREDENTIALS[address.scheme]}",
            ) from error
        return cls(address, bucket)

    def create(self, key: str, source: Source, *, sha256: str, size: int) -> None:
        """Puts a content under its key, unless it is there. `source` is checked against `sha256` on the way,
        and so is what is there already.
        """
        if size > PART:
            if self.facts(key) is None:
                with self._told(key, is_put=True):
                    self._bucket.put(
                        key,
                        _checked_chunks(source, sha256, size),
                        chunk_size=PART,
                        max_concurrency=_PARTS_AT_ONCE,
                        attributes=_attributes(key),
                    )
                found = self.facts(key)
                if found is None or found.size != size:
                    raise self._has_other_content(key, "after it was put there")
                return
        else:
            content = b"".join(_checked_chunks(source, sha256, size))
            with contextlib.suppress(_ExistsError), self._told(key, is_put=True):
                self._bucket.put(
                    key, content, mode="create", use_multipart=False, attributes=_attributes(key)
                )
                return
        why = self.lacks(key, source, sha256=sha256, size=size)
        if why:
            raise self._has_other_content(key, why)

    def facts(self, key: str) -> ObjectFacts | None:
        """None where there is no such object."""
        try:
            with self._told(key):
                found = self._bucket.head(key)
        except ObjectError as error:
            if error.trouble is ObjectTrouble.MISSING:
                return None
            raise
        return ObjectFacts(found["size"], found["e_tag"] or "")

    def read(self, key: str, *, etag: str = "") -> Iterator[bytes]:
        """The content, piece by piece; raises `CHANGED` where it has another `etag` than that."""
        with self._told(key):
            found = self._bucket.get(key)
            if etag and found.meta["e_tag"] != etag:
                raise ObjectError(ObjectTrouble.CHANGED, f"{self.address.child(key)}: is changing just now")
            for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Key and size of each object below `prefix`."""
        with self._told(prefix):
            for page in self._bucket.list(prefix or None, chunk_size=1000):
                for found in page:
                    yield found["path"], found["size"]

    def signed(self, key: str, seconds: float) -> str:
        """A URL, which is a secret, by which anybody can read the object for so long."""
        # an extra, as in `open`
        from obstore import sign

        with self._told(key):
            bucket = cast("SignCapableStore", self._bucket)
            return sign(bucket, "GET", key, datetime.timedelta(seconds=seconds))

    def lacks(self, key: str, source: Source, *, sha256: str, size: int) -> str:
        """Why what is there is not this content; empty where it is. Its MD5 proves that where the store
        tells it, else the object is read. `source` may raise OSError.
        """
        found = self.facts(key)
        if found is None or found.size != size:
            return f"its size is {found.size if found else 'unknown'}, not {size}"
        told = _MD5.fullmatch(found.etag)
        if told is not None and told[1] in _etags(source):
            return ""
        content = hashlib.sha256()
        for chunk in self.read(key):
            content.update(chunk)
        return "" if content.hexdigest() == sha256 else "its sha256 is another"

    def _has_other_content(self, key: str, why: str) -> ObjectError:
        at = self.address.child(key)
        return ObjectError(
            ObjectTrouble.OTHER_CONTENT,
            f"{at}: there is an object with other content: {why}; it was left as it is",
            hint="see who put it there; once it is gone, `callsheet archive` puts the right one",
        )

    @contextlib.contextmanager
    def _told(self, key: str, *, is_put: bool = False) -> Iterator[None]:
        try:
            yield
        except (ObjectError, GeneratorExit):
            raise
        except Exception as error:  # obstore has no one base for them
            raise self._translated(key, error, is_put=is_put) from None

    def _translated(self, key: str, error: Exception, *, is_put: bool) -> Exception:
        """What obstore raised, as our own. Its text may repeat an address with a credential: it is read, and
        never shown.
        """
        text, kind, at = str(error), type(error).__name__, self.address.child(key)
        name, bucket = SCHEMES[self.address.scheme], self.address.whole_bucket
        code = _CODE.search(text)
        status = _STATUS.search(text)
        said = f" ({code[1]})" if code else f" ({status[1]})" if status else ""
        inner = error.__cause__ if isinstance(error.__cause__, ObjectError) else None
        if inner is not None:
            return inner
        if _CHANGED in text:
            return ObjectError(ObjectTrouble.CHANGED, f"{at}: what should be put there has changed")
        if kind == "AlreadyExistsError":
            return _ExistsError()
        if any(word in text for word in _NO_BUCKET) or (is_put and kind == "FileNotFoundError"):
            return ObjectError(
                ObjectTrouble.NO_BUCKET,
                f"{bucket}: there is no such bucket{said}",
                hint="make it, or mend its name in callsheet.yaml",
            )
        if kind == "FileNotFoundError":
            return ObjectError(ObjectTrouble.MISSING, f"{at}: there is no such object")
        needed = _CREDENTIALS[self.address.scheme]
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or (
            status and status[1] in ("401", "403")
        ):
            return ObjectError(
                ObjectTrouble.REFUSED,
                f"{bucket}: {name} refuses these credentials here{said}",
                hint=f"check {needed}, and what they may do in this bucket",
            )
        if any(word in text for word in _NO_CREDENTIALS):
            return ObjectError(
                ObjectTrouble.REFUSED, f"{bucket}: there are no credentials for {name}", hint=f"set {needed}"
            )
        if status is None or int(status[1]) >= 500 or status[1] in ("408", "429"):
            return ObjectError(
                ObjectTrouble.UNREACHABLE,
                f"{bucket}: {name} does not answer as it should{said}",
                hint="check the network, and AWS_ENDPOINT_URL if it is set" if name == "S3" else "try later",
            )
        return ObjectError(ObjectTrouble.OTHER, f"{at}: {name} refuses it{said}")


@dataclass(slots=True)
class Stores:
    """The buckets that a process reads from, each opened once. Nothing is imported before the first."""

    route: Route = DIRECT
    _opened: dict[ObjectAddress, ObjectStore] = field(default_factory=dict)

    def of(self, address: ObjectAddress) -> ObjectStore:
        """The whole bucket, in which `address.key` is a key. Raises UsageError."""
        bucket = address.whole_bucket
        if bucket not in self._opened:
            self._opened[bucket] = ObjectStore.open(bucket, self.route)
        return self._opened[bucket]


class _ExistsError(Exception):
    """The conditional create found an object."""


_CHANGED = "callsheet: the content has changed"


def _checked_chunks(source: Source, sha256: str, size: int) -> Iterator[bytes]:
    """The content in parts; raises before the last of them where it is not what `sha256` says, so that no
    object comes of it.
    """
    digest, last, seen = hashlib.sha256(), b"", 0
    try:
        for chunk in _chunks(source):
            digest.update(chunk)
            seen += len(chunk)
            if last:
                yield last
            last = chunk
    except OSError as error:
        raise ObjectError(ObjectTrouble.CHANGED, f"{_CHANGED}: {error.strerror}") from error
    if seen != size or digest.hexdigest() != sha256:
        raise ObjectError(ObjectTrouble.CHANGED, _CHANGED)
    yield last


def _chunks(source: Source) -> Iterator[bytes]:
    with source() as file:
        while chunk := file.read(PART):
            yield chunk


def _etags(source: Source) -> tuple[str, str]:
    """S3's for a content that was put whole, and for one that was put in parts as ours are."""
    whole, parts = hashlib.md5(usedforsecurity=False), list[bytes]()
    for chunk in _chunks(source):
        whole.update(chunk)
        parts.append(hashlib.md5(chunk, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False)
    return whole.hexdigest(), f"{joined.hexdigest()}-{len(parts)}"


def _attributes(key: str) -> dict[str, str]:
    suffix = key.rpartition(".")[2]
    known = {
        "mp4": "video/mp4",
        "webm": "video/webm",
        "mov": "video/quicktime",
        "png": "image/png",
        "jpg": "image/jpeg",
        "webp": "image/webp",
    }
    return {"Content-Type": known.get(suffix, "application/octet-stream")}


def _client_options(
    address: ObjectAddress, route: Route, environment: Mapping[str, str]
) -> Any:  # a TypedDict of obstore, which may not be there
    options: dict[str, object] = {
        "connect_timeout": datetime.timedelta(seconds=_CONNECT_SECONDS),
        "read_timeout": datetime.timedelta(seconds=_SILENT_SECONDS),
        "timeout": datetime.timedelta(seconds=_REQUEST_SECONDS),
        "user_agent": "callsheet",
        # a proxy where nothing listens keeps the environment's own away, about which `trust_env` decides. It
        # also ends a redirect to another host, which obstore would follow with a session token
        "proxy_url": "http://127.0.0.1:9",
        "proxy_excludes": ",".join(_own_hosts(address, environment)),
    }
    if _is_plain_here(address, environment):
        options["allow_http"] = True
    if route.proxy is not None:
        user = f"{route.proxy.user_info}@" if route.proxy.user_info else ""
        options["proxy_url"] = f"http://{user}{route.proxy.address}"
        options["proxy_excludes"] = ",".join(filter(None, ("localhost,127.0.0.0/8,::1", route.no_proxy)))
    if route.certificates and Path(route.certificates).is_file():
        options["root_certificate"] = Path(route.certificates).read_bytes()
    return options


def _own_hosts(address: ObjectAddress, environment: Mapping[str, str]) -> Iterator[str]:
    """Where a store and its credentials come from: the service's domains, what the environment names, and
    what gives a machine its role.
    """
    yield from (*_DOMAINS[address.scheme], "localhost", "127.0.0.1", "::1", "169.254.0.0/16", "fd00:ec2::/32")
    for name, value in environment.items():
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_", "MSI_")) and "://" in value:
            with contextlib.suppress(ValueError):
                if named := urlsplit(value).hostname:
                    yield named


_DOMAINS = {
    "s3": ("amazonaws.com",),
    "gs": ("googleapis.com", "metadata.google.internal", "metadata"),
    "az": ("windows.net", "microsoftonline.com", "fabric.microsoft.com"),
}

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
}


def _endpoint(address: ObjectAddress, environment: Mapping[str, str]) -> SplitResult | None:
    """The one that the environment names; None for the service's own."""
    named = next((environment[name] for name in _ENDPOINTS[address.scheme] if environment.get(name)), "")
    with contextlib.suppress(ValueError):
        return urlsplit(named) if named else None
    return None


def _is_plain_here(address: ObjectAddress, environment: Mapping[str, str]) -> bool:
    """Whether the environment's endpoint is plain http on this machine; elsewhere it takes AWS_ALLOW_HTTP."""
    parts = _endpoint(address, environment)
    return parts is not None and parts.scheme == "http" and is_loopback_host(parts.hostname or "")


def place_words(address: ObjectAddress, environment: Mapping[str, str] = os.environ) -> str:
    """Where an address leads, for a person: `S3 in eu-west-1`, `S3 at http://127.0.0.1:9000`."""
    name, parts = SCHEMES[address.scheme], _endpoint(address, environment)
    if parts is not None:
        return f"{name} at {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    region = environment.get("AWS_REGION", "") if address.scheme == "s3" else ""
    return f"{name} in {region}" if region else name


def is_in_plain_text(address: ObjectAddress, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether files, and the addresses that services get, pass a network without TLS."""
    parts = _endpoint(address, environment)
    return parts is not None and parts.scheme == "http" and not _is_plain_here(address, environment)


def _first_line(error: Exception) -> str:
    return printable(str(error).partition("\n")[0])[:200]
