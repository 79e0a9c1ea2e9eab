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
from runner.providers.base import RemoteFileKind
from runner.record.folder import RunFolder
from runner.record.manifest import Manifest, ManifestFile, ManifestTask
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


AskStore = Callable[[str, ManifestFile], tuple[Finding, str]]
"""How the object at this address stands against the record of its file, and more about it in words."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file. `path` is relative to the base directory; `why` says more than the finding does."""

    task: str
    path: str
    finding: Finding
    why: str = ""


def check_task(
    task: ManifestTask,
    base: Path,
    probe: Probe,
    elsewhere: Mapping[str, Sequence[str]] | None = None,
    stored: Mapping[str, str] | None = None,
    ask_store: AskStore | None = None,
) -> Iterator[CheckedFile]:
    """Every file of a manifest's task, hashed and probed; `base` is the directory that holds runs/.

    One that is not at its path, or not as it was, is looked for: where the ledger has it (`elsewhere`, by
    digest), then among its siblings. One that is nowhere here may lie in a store (`stored` are addresses, by
    digest): that is said, and not checked unless the store is asked, which then is about every copy there.
    """
    if not task.outputs and task.state in (TaskState.DONE, TaskState.ABSENT):
        yield CheckedFile(task.name, "", Finding.MISSING, "done, and the manifest names no file")
    for kind in task.missing if task.outputs else ():
        yield CheckedFile(task.name, "", Finding.MISSING, f"the {kind} was asked for and never came")
    for file in task.outputs:
        found = check_file(base, file, probe)
        if found[0] in (Finding.MISSING, Finding.CHANGED) and _is_inside(base, file.path):
            for path in (*(elsewhere or {}).get(file.sha256, ()), *siblings(base, file.path)):
                finding, _ = check_file(base, replace(file, path=path), probe)
                if finding is Finding.SAME:
                    found = finding, f"kept at {path}"
                    break
        if found[0] is Finding.MISSING and (address := (stored or {}).get(file.sha256)):
            found = Finding.STORED, address
        yield CheckedFile(task.name, file.path, *found)
        if ask_store is not None and (address := (stored or {}).get(file.sha256)):
            yield CheckedFile(task.name, address, *ask_store(address, file))


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


def check_file(base: Path, recorded: ManifestFile | OutputRow, probe: Probe) -> tuple[Finding, str]:
    """One file against its record, and more about it in words where there is more to say."""
    path = base / recorded.path
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
