"""Whether the files of a run are still what its manifest says."""

from __future__ import annotations

import enum
import glob
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from runner.ledger.states import TaskState
from runner.record.folder import RunFolder

_SHA256 = re.compile(r"[0-9a-f]{64}")

Probe = Callable[[str, BinaryIO], str]
"""What is wrong with a file of this kind (`video`, `last_frame`), opened for reading; empty: nothing."""


class Finding(enum.StrEnum):
    """How a file stands against its record."""

    SAME = "same"
    MISSING = "missing"
    CHANGED = "changed"
    BROKEN = "broken"
    """The bytes are those that were recorded, and no player would take them."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file. `path` is relative to the base directory; `why` says more than the finding does."""

    task: str
    path: str
    finding: Finding
    why: str = ""


def check_task(entry: Mapping[str, Any], base: Path, probe: Probe) -> Iterator[CheckedFile]:
    """Every file of a manifest's task, hashed and probed; `base` is the directory that holds runs/."""
    name = str(entry["name"])
    outputs = entry["outputs"]
    if not outputs and entry["state"] in (TaskState.DONE, TaskState.ABSENT):
        yield CheckedFile(name, "", Finding.MISSING, "done, and the manifest names no file")
    # a manifest of an earlier version says nothing of it
    for kind in entry.get("missing", ()) if outputs else ():
        yield CheckedFile(name, "", Finding.MISSING, f"the {kind} was asked for and never came")
    for output in outputs:
        found = _check_file(base, output, probe)
        if found[0] in (Finding.MISSING, Finding.CHANGED):
            aside = ({**output, "path": path} for path in _moved_aside(base, str(output["path"])))
            found = next(filter(_is_same, (_check_file(base, one, probe) for one in aside)), found)
        yield CheckedFile(name, str(output["path"]), *found)


def check_jobs(folder: RunFolder, members: Mapping[str, Any]) -> Iterator[CheckedFile]:
    """The copies of the job file that the run keeps: the newest, and that of each session.

    `members` are the manifest's; an older one names the newest alone.
    """
    yield _check_job(folder, folder.job, members["job"]["sha256"])
    told = [session.get("job_digest") for session in members["run"]["sessions"]]
    for digest in dict.fromkeys(filter(None, told)):
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            yield CheckedFile("", "jobs", Finding.CHANGED, "the manifest names a job file by no sha256")
        else:
            yield _check_job(folder, folder.job_of(digest), digest)


def _check_job(folder: RunFolder, copy: Path, sha256: str) -> CheckedFile:
    path = copy.relative_to(folder.path).as_posix()
    try:
        found = hashlib.sha256(copy.read_bytes()).hexdigest()
    except OSError as error:
        return CheckedFile("", path, Finding.MISSING, _reason(error))
    if found != sha256:
        return CheckedFile("", path, Finding.CHANGED, "not the job file that the manifest names")
    return CheckedFile("", path, Finding.SAME)


def _moved_aside(base: Path, path: str) -> Iterator[str]:
    """Where a file may have given way to another server's: `out/s1.v1.mp4` beside `out/s1.mp4`."""
    suffix = ".last.png" if path.endswith(".last.png") else ".mp4"
    file = base / path
    if not file.resolve().is_relative_to(base.resolve()):
        return
    stem = glob.escape(file.name.removesuffix(suffix))
    for found in sorted(file.parent.glob(f"{stem}.v[0-9]*{suffix}")):
        yield str(file.with_name(found.name))


def _is_same(found: tuple[Finding, str]) -> bool:
    return found[0] is Finding.SAME


def _check_file(base: Path, output: Mapping[str, Any], probe: Probe) -> tuple[Finding, str]:
    path = base / str(output["path"])
    # a manifest that somebody wrote must not make us read other files
    if not path.resolve().is_relative_to(base.resolve()):
        return Finding.CHANGED, "its path leads out of the project"
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size != output["bytes"]:
                return Finding.CHANGED, f"{size:,} bytes, was {output['bytes']:,}"
            if hashlib.file_digest(file, "sha256").hexdigest() != output["sha256"]:
                return Finding.CHANGED, "other bytes of the same length"
            wrong = probe(str(output["kind"]), file)
    except FileNotFoundError:
        return Finding.MISSING, ""
    except OSError as error:
        return Finding.MISSING, _reason(error)
    return (Finding.BROKEN, wrong) if wrong else (Finding.SAME, "")


def _reason(error: OSError) -> str:
    return "" if isinstance(error, FileNotFoundError) else f"cannot read: {error.strerror}"
