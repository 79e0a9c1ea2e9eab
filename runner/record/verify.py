"""Whether the files of a run are still what its manifest says."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from runner.ledger.states import TaskState

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
        finding, why = _check_file(base, output, probe)
        yield CheckedFile(name, str(output["path"]), finding, why)


def check_job(job: Path, sha256: str) -> CheckedFile:
    """The copy of the job file that the run keeps."""
    try:
        found = hashlib.sha256(job.read_bytes()).hexdigest()
    except OSError as error:
        return CheckedFile("", job.name, Finding.MISSING, _reason(error))
    if found != sha256:
        return CheckedFile("", job.name, Finding.CHANGED, "not the job file that the manifest names")
    return CheckedFile("", job.name, Finding.SAME)


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
