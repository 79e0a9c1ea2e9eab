"""Whether the files of a run are still what its manifest says."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from runner.ledger.rows import OutputRow
from runner.ledger.states import TaskState
from runner.media.boxes import NotMediaError
from runner.media.pictures import Wanted
from runner.media.readers import read
from runner.media.video import probe, probe_image
from runner.providers.base import RemoteFileKind
from runner.record.folder import RunFolder
from runner.record.manifest import Manifest, ManifestTask
from runner.record.whereabouts import siblings

_SHA256 = re.compile(r"[0-9a-f]{64}")

Probe = Callable[[RemoteFileKind, BinaryIO], str]
"""What is wrong with a file of this kind, opened for reading; empty: nothing."""


class Finding(enum.StrEnum):
    """How a file stands against its record."""

    SAME = "same"
    STORED = "stored"
    """Not here, and in a store: by the ledger, or by the manifest where there is no ledger."""
    LISTED = "listed"
    """A store lists it with its size; it was not read."""
    MISSING = "missing"
    CHANGED = "changed"
    BROKEN = "broken"
    """The bytes are those that were recorded, and no player would take them."""
    UNKNOWN = "unknown"
    """The process that read it died."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file. `path` is relative to the base directory; `why` says more than the finding does."""

    task: str
    path: str
    finding: Finding
    why: str = ""


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """One file of a manifest's task, the other paths at which the ledger has these bytes, and the address of
    its copy in a store.
    """

    task: str
    kind: RemoteFileKind
    path: str
    bytes: int
    sha256: str
    elsewhere: tuple[str, ...] = ()
    stored: str = ""


@dataclass(frozen=True, slots=True)
class Checks:
    """`base` is the directory that holds runs/. `decode`: FFmpeg reads a picture of each video."""

    base: str
    decode: bool


def files_of(
    task: ManifestTask, elsewhere: Mapping[str, Sequence[str]], stored: Mapping[str, str]
) -> Iterator[FileToCheck | CheckedFile]:
    """The files of a task to check, and what can be said without looking; `elsewhere` and `stored`, which has
    addresses, are by digest.
    """
    if not task.outputs and task.state in (TaskState.DONE, TaskState.ABSENT):
        yield CheckedFile(task.name, "", Finding.MISSING, "done, and the manifest names no file")
    for kind in task.missing if task.outputs else ():
        yield CheckedFile(task.name, "", Finding.MISSING, f"the {kind} was asked for and never came")
    for file in task.outputs:
        others = tuple(path for path in elsewhere.get(file.sha256, ()) if path != file.path)
        address = stored.get(file.sha256, "")
        yield FileToCheck(task.name, file.kind, file.path, file.bytes, file.sha256, others, address)


def check(checks: Checks, file: FileToCheck | CheckedFile) -> CheckedFile:
    """Hashes and probes one file; a worker's function.

    One that is not at its path, or not as it was, is looked for: where the ledger has it, then among its
    siblings. One that is nowhere here may lie in a store: that is said, and not checked.
    """
    if isinstance(file, CheckedFile):
        return file
    base = Path(checks.base)
    probe = _decode if checks.decode else _walk_boxes
    found = check_file(base, file, probe)
    if found[0] in (Finding.MISSING, Finding.CHANGED) and _is_inside(base, file.path):
        for path in (*file.elsewhere, *siblings(base, file.path)):
            finding, _ = check_file(base, replace(file, path=path), probe)
            if finding is Finding.SAME:
                found = finding, f"kept at {path}"
                break
    if found[0] is Finding.MISSING and file.stored:
        found = Finding.STORED, file.stored
    return CheckedFile(file.task, file.path, *found)


def _decode(kind: RemoteFileKind, file: BinaryIO) -> str:
    return read(file, Wanted.CHECK).why if kind is RemoteFileKind.VIDEO else _walk_boxes(kind, file)


def _walk_boxes(kind: RemoteFileKind, file: BinaryIO) -> str:
    """What the file's own structure says, without FFmpeg."""
    try:
        (probe if kind is RemoteFileKind.VIDEO else probe_image)(file)
    except NotMediaError as error:
        return str(error)
    return ""


def check_jobs(folder: RunFolder, manifest: Manifest) -> Iterator[CheckedFile]:
    """The copies that the run keeps: the newest of the job file, and what each session ran."""
    yield _check_copy(folder, folder.job, manifest.job.sha256)
    told = [session.job_digest for session in manifest.run.sessions]
    for digest in dict.fromkeys(filter(None, told)):
        if not _SHA256.fullmatch(digest):
            yield CheckedFile("", "jobs", Finding.CHANGED, "the manifest names a job file by no sha256")
        else:
            yield _check_copy(folder, folder.job_of(digest), digest)
    files = {digest for session in manifest.run.sessions for digest in session.files.values()}
    for digest in sorted(filter(_SHA256.fullmatch, files)):
        yield _check_copy(folder, folder.file_of(digest), digest, "file")


def _check_copy(folder: RunFolder, copy: Path, sha256: str, what: str = "job file") -> CheckedFile:
    path = copy.relative_to(folder.path).as_posix()
    try:
        found = hashlib.sha256(copy.read_bytes()).hexdigest()
    except OSError as error:
        return CheckedFile("", path, Finding.MISSING, _reason(error))
    if found != sha256:
        return CheckedFile("", path, Finding.CHANGED, f"not the {what} that the manifest names")
    return CheckedFile("", path, Finding.SAME)


def _is_inside(base: Path, path: str) -> bool:
    return (base / path).resolve().is_relative_to(base.resolve())


def check_file(base: Path, recorded: FileToCheck | OutputRow, probe: Probe) -> tuple[Finding, str]:
    """One file against its record, and more about it in words where there is more to say."""
    path = base / recorded.path
    if "\0" in recorded.path:
        return Finding.CHANGED, "its path holds a NUL"
    # a manifest that somebody wrote must not make us read other files
    if not _is_inside(base, recorded.path):
        return Finding.CHANGED, "its path leads out of the project"
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size != recorded.bytes:
                return Finding.CHANGED, f"{size:,} bytes, was {recorded.bytes:,}"
            if hashlib.file_digest(file, "sha256").hexdigest() != recorded.sha256:
                return Finding.CHANGED, "other bytes of the same length"
            wrong = probe(recorded.kind, file)
    except FileNotFoundError:
        return Finding.MISSING, ""
    except OSError as error:
        return Finding.MISSING, _reason(error)
    return (Finding.BROKEN, wrong) if wrong else (Finding.SAME, "")


def _reason(error: OSError) -> str:
    return "" if isinstance(error, FileNotFoundError) else f"cannot read: {error.strerror}"
