"""The contact sheet of a run, made from its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.desk.html import write_report
from runner.desk.posters import Tell, posters
from runner.desk.sheet import build_sheet
from runner.project import Project
from runner.record.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Report:
    """`without_poster` counts the videos that are there and have no picture yet; `unreadable` says by path
    what is wrong with those that FFmpeg cannot read.
    """

    path: Path
    without_poster: int
    unreadable: Mapping[str, str]


def _untold(_made: int, _of: int) -> None:
    pass


def make_report(project: Project, run_id: str, *, patience: float, tell: Tell = _untold) -> Report:
    """Writes `report.html` of a run, from what its folder holds; blocking.

    `patience` is seconds for new posters; `tell` hears how far they are. Raises StateError where there
    is no manifest, or where the page cannot be written, and UsageError where `run_id` is none.
    """
    folder = RunFolder(project, run_id)
    job_text = b""
    with contextlib.suppress(OSError):  # without it the page offers no `pick` lines
        job_text = folder.job.read_bytes()
    sheet = build_sheet(folder.manifest, job_text)
    made = posters(project, sheet.videos, patience=patience, tell=tell)
    write_report(folder.report, sheet, made)
    unreadable = {path: poster.why for path, poster in made.items() if poster.why}
    lacking = sum(poster.is_there and poster.image is None for poster in made.values())
    return Report(folder.report, lacking - len(unreadable), unreadable)
