"""URL to verified file: fetched into `.part`, checked, and published whole or not at all.

One blocking function of plain values (`DownloadRequest` in, `FileRecord` out), from the connection to
the published name, in a worker thread. It knows nothing of the ledger. The rows are those of
docs/reference/faults.md.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import math
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import httpx

from runner.http.addresses import ForbiddenAddressError, check_url, is_at
from runner.http.fetch import Answer, BrokenOffError, Patience, Source, Stop, Wire
from runner.http.route import DIRECT, Route
from runner.media.boxes import NotMediaError, UnprovenError
from runner.media.containers import SUFFIXES
from runner.media.video import MediaFacts, probe, probe_image
from runner.providers.base import RemoteFileKind
from runner.store.files import FileStore, UnsafePathError, digest, publish
from runner.store.part import Part

MOST_REDIRECTS = 5
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_LATER = frozenset({408, 425, 429})
_NOT_READY = frozenset({400, 404})
"""Of an API's own address, which never expires: the file may be a moment behind its task."""
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TOO_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class DownloadTrouble(enum.StrEnum):
    """The kinds of trouble, by what the caller can do about them."""

    EXPIRED = "expired"
    """The server will not give this URL (any 4xx that waiting does not heal): ask for a fresh one."""
    RETRY = "retry"
    """Cut, stalled, too slow, 5xx, 408, 425 or 429: again later, going on where it stopped."""
    REFUSED = "refused"
    """The answer is not the file that was promised, or its address is forbidden; `.part` is kept."""
    UNPROVEN = "unproven"
    """A video of a kind that does not tell where it ends, without a promised length; `.part` is kept."""
    DISK_FULL = "disk_full"
    CANNOT_WRITE = "cannot_write"
    PATH_TAKEN = "path_taken"
    """Something that is no plain file stands where this one should, or on the way to it."""
    TARGET_EXISTS = "target_exists"
    """Another file has the final name; the verified download is kept as `.part`."""


_NOT_WANTED = frozenset({DownloadTrouble.REFUSED, DownloadTrouble.UNPROVEN})
"""Another attempt begins anew after these."""


class DownloadError(Exception):
    """A download ended without a file; the text holds no signed URL. `status` where HTTP gave one, `sha256`
    where a whole body came, `target` where another file has the final name.
    """

    def __init__(
        self,
        trouble: DownloadTrouble,
        message: str,
        *,
        status: int | None = None,
        sha256: str | None = None,
        target: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
        self.status = status
        self.sha256 = sha256
        self.target = target


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Bounds of one download; sizes in bytes. `free_reserve` stays free on the disk; `batch` bytes are
    read before they are written and hashed.
    """

    max_bytes: int = 4 << 30
    free_reserve: int = 64 << 20
    batch: int = 1 << 20
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class OwnOrigin:
    """The API's own origin, where results lie that want its key. It may be anywhere that the owner says: also
    in a private network, without TLS.
    """

    origin: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """One file to fetch. `url` is signed, thus secret. `part` lies on the file system of `target`,
    normally beside it; both are below the root of the file store. A video that is no MP4 gets the suffix
    of what it is in place of that of `target`. `kept` is where what stands at `target` is kept, which may be
    replaced then. With `own`, its key goes to it alone: not behind a redirect to another origin.
    """

    url: str = field(repr=False)
    target: Path
    part: Path
    kind: RemoteFileKind = RemoteFileKind.VIDEO
    allow_loopback: bool = False
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    kept: Path | None = None
    own: OwnOrigin | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file under its final name, `path`: verified, and on the disk. `etag` is empty where none was sent."""

    path: Path
    bytes: int
    sha256: str
    media: MediaFacts
    etag: str


class Fetch(Protocol):
    """How the engine has a file fetched; a simulation has a way of its own."""

    async def __call__(self, request: DownloadRequest) -> FileRecord:
        """Raises DownloadError."""
        ...


class Downloader:
    """Downloads in worker threads, one for each. It knows no key and keeps no connection.

    `tls` verifies the servers of https URLs, which `route` leads to.
    """

    def __init__(self, files: FileStore, tls: ssl.SSLContext, route: Route = DIRECT) -> None:
        self._files = files
        self._tls = tls
        self._route = route
        # a download holds its thread for minutes, and must take none from a commit: who asks has bounds
        self._limiter = anyio.CapacityLimiter(math.inf)
        self._buffers: list[bytearray] = []

    async def __call__(self, request: DownloadRequest) -> FileRecord:
        """Cancelled, it shuts the connection and waits for the thread, which leaves the part in order."""
        stop, ended = Stop(), threading.Event()
        done: list[FileRecord] = []

        def work() -> None:
            try:
                if stop.begin():
                    done.append(self._download(request, stop))
            finally:
                ended.set()

        try:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            if stop.set():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(ended.wait, limiter=self._limiter)
            if not done:
                raise
        return done[0]

    def _download(self, request: DownloadRequest, stop: Stop) -> FileRecord:
        limits = request.limits
        allow_loopback = request.allow_loopback
        source = Wire(
            limits.patience,
            stop,
            tls=self._tls,
            allow_loopback=allow_loopback,
            own_origin=request.own.origin if request.own else "",
            route=self._route,
        )
        try:
            buffer = self._buffers.pop()  # a new one costs the kernel as much as what is read into it
        except IndexError:
            buffer = bytearray(limits.batch)
        try:
            return download(request, source, self._files, buffer)
        finally:
            self._buffers.append(buffer)


def download(request: DownloadRequest, source: Source, files: FileStore, buffer: bytearray) -> FileRecord:
    """Fetches, verifies and publishes one file; goes on where an earlier attempt stopped. Blocking.

    What stands at the target is replaced only where it is kept elsewhere, and a file with the same content
    there is taken for our own, published just before a kill. Raises DownloadError.
    """
    with _told(), files.staying_in(request.part.parent) as files:
        part = Part(files, request.part)
        # a target that cannot be used is told before anything is fetched
        files.stat(request.target)
        part.load()
        try:
            if not part.is_complete:
                _fetch(request, part, source, files, memoryview(buffer))
                part.close()
            return _verify_and_publish(request, part, files)
        except BaseException as error:
            _leave(part, error)
            raise


def _fetch(
    request: DownloadRequest, part: Part, source: Source, files: FileStore, buffer: memoryview
) -> None:
    """Brings `part` to the end of the file."""
    url, own = request.url, request.own
    try:
        for _ in range(MOST_REDIRECTS + 1):
            if own is not None and not is_at(url, own.origin):
                own = None  # for good: what follows is another's word
            checked = httpx.URL(url) if own else check_url(url, allow_loopback=request.allow_loopback)
            redirect = _follow(checked, own, request.limits, part, source, files, buffer)
            if redirect is None:
                return
            url = redirect
    except ForbiddenAddressError as error:
        raise DownloadError(DownloadTrouble.REFUSED, str(error)) from error
    except BrokenOffError as error:
        raise DownloadError(DownloadTrouble.RETRY, f"{error}, after {part.size} bytes") from error
    raise DownloadError(DownloadTrouble.REFUSED, f"more than {MOST_REDIRECTS} redirects")


def _follow(
    url: httpx.URL,
    own: OwnOrigin | None,
    limits: DownloadLimits,
    part: Part,
    source: Source,
    files: FileStore,
    buffer: memoryview,
) -> str | None:
    """One hop: the next URL of a redirect, or None when `part` has the whole body."""
    headers = {**_HEADERS, **(own.headers if own else {})}
    while True:
        resuming = {"Range": f"bytes={part.size}-", "If-Range": part.etag} if part.can_resume else {}
        with source.get(url, headers | resuming) as answer:
            if answer.status in _REDIRECTS:
                return _location(url, answer)
            if resuming and _is_useless_for_resuming(answer, part):
                part.begin(etag="", length=None)
                continue
            _check_answer(answer, limits, resumed=bool(resuming), is_own=own is not None)
            if answer.status != 206:
                # RFC 9110, 13.1.5: If-Range with a weak validator never matches
                strong = re.fullmatch(r'"[\x21\x23-\x7e]{1,512}"', answer.header("etag"))
                part.begin(etag=strong[0] if strong else "", length=answer.length)
            _check_room(part, files, limits)
            part.open()
            _receive(answer, part, limits, buffer)
            return None


def _receive(answer: Answer, part: Part, limits: DownloadLimits, buffer: memoryview) -> None:
    """Reads the body to its end; a long one is written and hashed beside, while more of it arrives."""
    size = answer.read_into(buffer)
    if size < len(buffer):
        _write(part, buffer[:size], limits)
        size = answer.read_into(buffer)
    if size:
        spare = memoryview(bytearray(len(buffer)))
        with ThreadPoolExecutor(1) as writer:
            while size:
                writing = writer.submit(_write, part, buffer[:size], limits)
                buffer, spare = spare, buffer
                try:
                    size = answer.read_into(buffer)
                finally:  # a full disk is told before a connection that broke meanwhile
                    writing.result()
    if part.length is not None and part.size < part.length:
        raise DownloadError(DownloadTrouble.RETRY, f"cut off after {part.size} of {part.length} bytes")


def _write(part: Part, data: memoryview, limits: DownloadLimits) -> None:
    bound = limits.max_bytes if part.length is None else part.length
    if part.size + len(data) > bound:
        raise DownloadError(DownloadTrouble.REFUSED, f"the body is longer than {bound} bytes")
    part.write(data)


def _location(url: httpx.URL, answer: Answer) -> str:
    location = answer.header("location")
    try:
        if location:
            return str(url.join(location))
    except (httpx.InvalidURL, ValueError):  # ValueError: what no URL can hold
        pass
    raise DownloadError(DownloadTrouble.REFUSED, "a redirect leads nowhere", status=answer.status)


def _is_useless_for_resuming(answer: Answer, part: Part) -> bool:
    """Whether the answer to a Range asks for a new start with a new request (row 40)."""
    if answer.status == 416:
        return True
    if answer.status != 206:
        return False
    said = _CONTENT_RANGE.fullmatch(answer.header("content-range"))
    etag = answer.header("etag") or part.etag
    if said is None or etag != part.etag or part.length is None:
        return True
    first, last, total = (int(number) for number in said.groups())
    return (first, last, total) != (part.size, part.length - 1, part.length)


def _check_answer(answer: Answer, limits: DownloadLimits, *, resumed: bool, is_own: bool) -> None:
    """Raises DownloadError for an answer whose body is not worth reading."""
    status = answer.status
    if status >= 500 or status in _TRY_LATER or (is_own and status in _NOT_READY):
        raise DownloadError(DownloadTrouble.RETRY, f"the file's server answered {status}", status=status)
    if status >= 400:
        raise DownloadError(
            DownloadTrouble.EXPIRED,
            f"the file's server answered {status}: it refuses this URL, or it has expired",
            status=status,
        )
    if status != 200 and not (status == 206 and resumed):
        raise DownloadError(DownloadTrouble.REFUSED, f"the file's server answered {status}", status=status)
    encoding = answer.header("content-encoding").strip().lower()
    if encoding not in ("identity", ""):
        raise DownloadError(DownloadTrouble.REFUSED, "the file came encoded, though identity was asked for")
    media_type = answer.header("content-type").partition(";")[0].strip().lower()
    if media_type in ("text/html", "application/xhtml+xml"):
        raise DownloadError(DownloadTrouble.REFUSED, "the file's server sent an HTML page")
    length = answer.length
    if length is not None and length > limits.max_bytes:
        raise DownloadError(
            DownloadTrouble.REFUSED, f"the file has {length} bytes, more than the limit of {limits.max_bytes}"
        )


def _check_room(part: Part, files: FileStore, limits: DownloadLimits) -> None:
    missing = (part.length or 0) - part.size
    free = files.free_bytes(part.path)
    if free < missing + limits.free_reserve:
        raise DownloadError(
            DownloadTrouble.DISK_FULL,
            f"{part.path}: {missing:,} bytes are still to come, and {limits.free_reserve:,} have to stay"
            f" free; {free:,} are free; hint: make room",
        )


def _leave(part: Part, error: BaseException) -> None:
    """Leaves the part so that the next attempt goes on, or starts over where it was refused.

    What has arrived is not asked for again, even when we were stopped or the server was too slow.
    """
    is_refused = isinstance(error, DownloadError) and error.trouble in _NOT_WANTED
    # the download has failed already, and that first error is the one to tell
    with contextlib.suppress(OSError, UnsafePathError):
        (part.forget if is_refused else part.take_note)()
    with contextlib.suppress(OSError):
        part.close()


def _verify_and_publish(request: DownloadRequest, part: Part, files: FileStore) -> FileRecord:
    try:
        with files.open(part.path) as file:
            if request.kind is RemoteFileKind.VIDEO:
                # a chunked body ends in order too where a proxy has lost the rest: only a length is a promise
                facts = probe(file, has_kept_length=part.size == part.length)
            else:
                facts = probe_image(file)
    except NotMediaError as error:
        part.forget()
        trouble = DownloadTrouble.UNPROVEN if isinstance(error, UnprovenError) else DownloadTrouble.REFUSED
        message = f"{error}; the bytes are kept in {part.path}"
        raise DownloadError(trouble, message, sha256=part.sha256) from error
    target = request.target
    if request.kind is RemoteFileKind.VIDEO:
        target = target.with_suffix(SUFFIXES[facts.container])
    try:
        publish(files, part.path, target, kept=request.kept)
    except FileExistsError as error:
        if digest(files, target).sha256 != part.sha256:
            raise DownloadError(
                DownloadTrouble.TARGET_EXISTS,
                f"{target}: another file is there; the download is kept in {part.path}",
                target=target,
            ) from error
        files.sync_file(target)
        files.sync_dir(target)
        files.remove(part.path)
    part.forget()
    return FileRecord(target, part.size, part.sha256, facts, part.etag)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The one place where the disk's errors become DownloadError."""
    try:
        yield
    except UnsafePathError as error:
        raise DownloadError(DownloadTrouble.PATH_TAKEN, str(error)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _DISK_FULL:
            raise DownloadError(DownloadTrouble.DISK_FULL, f"the disk is full: {reason}") from error
        if error.errno in _TOO_MANY_OPEN:
            raise DownloadError(DownloadTrouble.RETRY, f"cannot begin the download: {reason}") from error
        raise DownloadError(DownloadTrouble.CANNOT_WRITE, f"cannot write the download: {reason}") from error
