"""The contact sheet of a run, made from its folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from runner.engine.posters import posters
from runner.project import Project
from runner.record.folder import RunFolder
from runner.record.report import write_report
from runner.record.sheet.build import build_sheet


@dataclass(frozen=True, slots=True)
class Report:
    """`without_poster` counts the videos that are there and have no picture yet."""

    path: Path
    without_poster: int


def make_report(project: Project, run_id: str, *, patience: float) -> Report:
    """Writes `report.html` of a run, from what its folder holds; blocking.

    `patience` is seconds for new posters. Raises StateError where there is no manifest, or where
    the page cannot be written, and UsageError where `run_id` is none.
    """
    folder = RunFolder(project, run_id)
    job_text = b""
    with contextlib.suppress(OSError):  # without it the page offers no `pick` lines
        job_text = folder.job.read_bytes()
    sheet = build_sheet(folder.manifest, job_text)
    made = posters(project, sheet.videos, patience=patience)
    write_report(folder.report, sheet, made)
    lacking = sum(poster.is_there and poster.image is None for poster in made.values())
    return Report(folder.report, lacking)
