"""URL to verified file: fetched into `.part`, checked, and published whole or not at all.

A function of plain values (`DownloadRequest` in, `FileRecord` out) that knows nothing of the
ledger. The rows are those of docs/reference/faults.md.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, TypeVarTuple

import anyio
import httpx

from runner.engine.addresses import ForbiddenAddressError, check_url
from runner.engine.boxes import NotMediaError
from runner.engine.files import FileStore, UnsafePathError, digest, publish
from runner.engine.media import MediaFacts, probe, probe_image
from runner.engine.part import Part
from runner.engine.seams import Threads
from runner.engine.stall import StallGuard
from runner.providers.fast import GetClient

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_LATER = frozenset({408, 425, 429})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


class DownloadTrouble(enum.StrEnum):
    """What went wrong, by what the caller can do about it."""

    EXPIRED = "expired"
    """The server will not give this URL (any 4xx that waiting does not heal): ask for a fresh one."""
    RETRY = "retry"
    """Cut, stalled, too slow, 5xx, 408, 425 or 429: again later, going on where it stopped."""
    REFUSED = "refused"
    """The answer is not the file that was promised, or its address is forbidden; `.part` is kept."""
    DISK_FULL = "disk_full"
    CANNOT_WRITE = "cannot_write"
    TARGET_EXISTS = "target_exists"
    """Another file has the final name; the verified download is kept as `.part`."""


class DownloadError(Exception):
    """A download ended without a file; the text holds no signed URL. `status` where HTTP gave one."""

    def __init__(self, trouble: DownloadTrouble, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Bounds of one download; sizes in bytes, times in seconds.

    In every `rate_window` at least `minimum_rate` bytes a second must arrive: a timeout between
    bytes alone lets a drip go on for ever (row 43). `free_reserve` stays free on the disk.
    `batch` bytes are gathered before each hop to a worker thread.
    """

    max_bytes: int = 4 << 30
    total_seconds: float = 1800.0
    connect_seconds: float = 15.0
    header_seconds: float = 60.0
    minimum_rate: int = 4096
    rate_window: float = 30.0
    free_reserve: int = 64 << 20
    batch: int = 1 << 20


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """One file to fetch. `url` is signed, thus secret. `part` lies on the file system of `target`,
    normally beside it; both are below the root of the file store.
    """

    url: str = field(repr=False)
    target: Path
    part: Path
    kind: Literal["video", "last_frame"] = "video"
    allow_loopback: bool = False
    limits: DownloadLimits = field(default_factory=DownloadLimits)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file under its final name: verified, and on the disk. `etag` is empty where none was sent."""

    bytes: int
    sha256: str
    media: MediaFacts
    etag: str


async def download(
    request: DownloadRequest, *, client: GetClient, files: FileStore, threads: Threads
) -> FileRecord:
    """Fetches, verifies and publishes one file; goes on where an earlier attempt stopped.

    `client` is from `download_client`. Nothing is overwritten: a file with the same content at
    the target is taken for our own, published just before a kill. Raises DownloadError.
    """
    part = Part(files, request.part)
    free = await _on_disk(threads, _take_up, part, request.target, files)
    if part.is_complete:
        return await _on_disk(threads, _verify_and_publish, request, part, files)
    try:
        await _fetch(request, part, free, client=client, threads=threads)
        return await _on_disk(threads, _finish, request, part, files)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await threads.run(_leave, part, error)
        raise


async def _fetch(
    request: DownloadRequest, part: Part, free: int, *, client: GetClient, threads: Threads
) -> None:
    """Brings `part` to the end of the file, or raises DownloadError; `free` bytes may be written."""
    with anyio.CancelScope() as scope:
        guard = StallGuard(
            scope,
            total_seconds=request.limits.total_seconds,
            header_seconds=request.limits.header_seconds,
            minimum_rate=request.limits.minimum_rate,
            rate_window=request.limits.rate_window,
        )
        try:
            url = request.url
            for _ in range(MOST_REDIRECTS + 1):
                checked = check_url(url, allow_loopback=request.allow_loopback)
                redirect = await _follow(checked, request, part, free, guard, client, threads)
                if redirect is None:
                    return
                url = redirect
        except ForbiddenAddressError as error:
            raise DownloadError(DownloadTrouble.REFUSED, str(error)) from error
        except httpx.TransportError as error:
            raise DownloadError(
                DownloadTrouble.RETRY,
                f"the connection failed after {part.size} bytes ({type(error).__name__})",
            ) from error
        raise DownloadError(DownloadTrouble.REFUSED, f"more than {MOST_REDIRECTS} redirects")
    raise DownloadError(DownloadTrouble.RETRY, f"{guard.complaint}, after {part.size} bytes")


async def _follow(
    url: httpx.URL,
    request: DownloadRequest,
    part: Part,
    free: int,
    guard: StallGuard,
    client: GetClient,
    threads: Threads,
) -> str | None:
    """One hop: the next URL of a redirect, or None when `part` has the whole body."""
    limits = request.limits
    while True:
        headers = {"range": f"bytes={part.size}-", "if-range": part.etag} if part.can_resume else {}
        guard.expect_headers()
        # the guard bounds what comes after the connect, drips included
        async with client.stream(url, headers, connect=limits.connect_seconds) as response:
            if response.status_code in _REDIRECTS:
                return _location(response)
            if headers and _is_useless_for_resuming(response, part):
                part.begin(etag="", length=None)
                continue
            _check_answer(response, limits, resumed=bool(headers))
            if response.status_code != 206:
                part.begin(etag=_strong_etag(response), length=_content_length(response))
            _check_room(part, free, limits)
            await _receive(response, part, guard, limits, threads)
            return None


async def _receive(
    response: httpx.Response, part: Part, guard: StallGuard, limits: DownloadLimits, threads: Threads
) -> None:
    """Reads the body to its end; the last of it, less than a batch, is gathered and not written yet."""
    bound = limits.max_bytes if part.length is None else part.length
    failure: BaseException | None = None

    async def take(chunk: bytes) -> None:
        guard.received(len(chunk))
        if part.size + part.gathered + len(chunk) > bound:
            raise DownloadError(DownloadTrouble.REFUSED, f"the body is longer than {bound} bytes")
        part.gather(chunk)
        if part.gathered >= limits.batch:
            with anyio.CancelScope(shield=True), guard.paused():
                await _on_disk(threads, part.save)

    guard.expect_body()
    with anyio.CancelScope() as stop:
        async for chunk in response.aiter_raw():
            if failure is not None:
                continue
            try:
                await take(chunk)
            except BaseException as error:
                # leaving the loop would leave httpx's nested generators to the garbage collector,
                # which trio warns of; cancelled from the inside, each of them ends in order
                failure = error
                stop.cancel()
    if failure is not None:
        raise failure
    arrived = part.size + part.gathered
    if part.length is not None and arrived < part.length:
        raise DownloadError(DownloadTrouble.RETRY, f"cut off after {arrived} of {part.length} bytes")


def _location(response: httpx.Response) -> str:
    try:
        return str(response.url.join(response.headers["location"]))
    except (KeyError, httpx.InvalidURL, ValueError) as error:  # ValueError: what no URL can hold
        raise DownloadError(
            DownloadTrouble.REFUSED, "a redirect leads nowhere", status=response.status_code
        ) from error


def _is_useless_for_resuming(response: httpx.Response, part: Part) -> bool:
    """Whether the answer to a Range asks for a new start with a new request (row 40)."""
    if response.status_code == 416:
        return True
    if response.status_code != 206:
        return False
    said = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    etag = response.headers.get("etag", part.etag)
    if said is None or etag != part.etag or part.length is None:
        return True
    first, last, total = (int(number) for number in said.groups())
    return (first, last, total) != (part.size, part.length - 1, part.length)


def _check_answer(response: httpx.Response, limits: DownloadLimits, *, resumed: bool) -> None:
    """Raises DownloadError for an answer whose body is not worth reading."""
    status = response.status_code
    if status >= 500 or status in _TRY_LATER:
        raise DownloadError(DownloadTrouble.RETRY, f"the file's server answered {status}", status=status)
    if status >= 400:
        raise DownloadError(
            DownloadTrouble.EXPIRED,
            f"the file's server answered {status}: the URL has expired",
            status=status,
        )
    if status != 200 and not (status == 206 and resumed):
        raise DownloadError(DownloadTrouble.REFUSED, f"the file's server answered {status}", status=status)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise DownloadError(DownloadTrouble.REFUSED, "the file came encoded, though identity was asked for")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("text/html", "application/xhtml+xml"):
        raise DownloadError(DownloadTrouble.REFUSED, "the file's server sent an HTML page")
    length = _content_length(response)
    if length is not None and length > limits.max_bytes:
        raise DownloadError(
            DownloadTrouble.REFUSED, f"the file has {length} bytes, more than the limit of {limits.max_bytes}"
        )


def _content_length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _strong_etag(response: httpx.Response) -> str:
    etag: str = response.headers.get("etag", "")
    # RFC 9110, 13.1.5: If-Range with a weak validator never matches
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]{1,512}"', etag) else ""


def _take_up(part: Part, target: Path, files: FileStore) -> int:
    """Loads what there is of the part; gives the bytes that are free where it lies."""
    # a target that cannot be used is told before anything is fetched
    files.stat(target)
    part.load()
    return files.free_bytes(part.path)


def _check_room(part: Part, free: int, limits: DownloadLimits) -> None:
    missing = (part.length or 0) - part.size
    if free < missing + limits.free_reserve:
        raise DownloadError(
            DownloadTrouble.DISK_FULL,
            f"{part.path}: {missing:,} bytes are still to come, and {limits.free_reserve:,} have to stay"
            f" free; {free:,} are free; hint: make room",
        )


def _finish(request: DownloadRequest, part: Part, files: FileStore) -> FileRecord:
    """All that is left when the body has arrived, in one hop: a hop costs more than what it does."""
    part.save()
    part.close()
    return _verify_and_publish(request, part, files)


def _leave(part: Part, error: BaseException) -> None:
    """Leaves the part so that the next attempt goes on, or starts over where it was refused.

    What has arrived is not asked for again, even when we were stopped or the server was too slow.
    """
    is_refused = isinstance(error, DownloadError) and error.trouble is DownloadTrouble.REFUSED
    # the download has failed already, and that first error is the one to tell
    with contextlib.suppress(OSError, UnsafePathError):
        if part.gathered:
            part.save()
    with contextlib.suppress(OSError, UnsafePathError):
        (part.forget if is_refused else part.take_note)()
    with contextlib.suppress(OSError):
        part.close()


def _verify_and_publish(request: DownloadRequest, part: Part, files: FileStore) -> FileRecord:
    try:
        with files.open(part.path) as file:
            if request.kind == "video":
                # a chunked body ends in order too where a proxy has lost the rest: only a length is a promise
                facts = probe(file, has_kept_length=part.size == part.length)
            else:
                facts = probe_image(file)
    except NotMediaError as error:
        part.forget()
        raise DownloadError(DownloadTrouble.REFUSED, f"{error}; the bytes are kept in {part.path}") from error
    try:
        publish(files, part.path, request.target)
    except FileExistsError as error:
        if digest(files, request.target).sha256 != part.sha256:
            raise DownloadError(
                DownloadTrouble.TARGET_EXISTS,
                f"{request.target}: another file is there; the download is kept in {part.path}",
            ) from error
        files.sync_file(request.target)
        files.sync_dir(request.target)
        files.remove(part.path)
    part.forget()
    return FileRecord(part.size, part.sha256, facts, part.etag)


async def _on_disk(threads: Threads, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Runs it in a worker thread; the one place where the disk's errors become DownloadError."""
    try:
        return await threads.run(function, *args)
    except UnsafePathError as error:
        raise DownloadError(DownloadTrouble.CANNOT_WRITE, str(error)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _DISK_FULL:
            raise DownloadError(DownloadTrouble.DISK_FULL, f"the disk is full: {reason}") from error
        raise DownloadError(DownloadTrouble.CANNOT_WRITE, f"cannot write the download: {reason}") from error
