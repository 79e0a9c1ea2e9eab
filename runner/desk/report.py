"""`report.html`: the contact sheet of a run, one page that needs nothing else but the videos.

Everything that it says comes from the run's folder, so it can be made again later from that alone; the ledger
only tells where its files are by now.
What a person, a service or a file name put there is data: Jinja2 escapes it in the head, and the
script writes it as text. Should an escape ever be missing, the page's own Content-Security-Policy
runs no script but ours and loads nothing from elsewhere (docs/reference/security.md, line 18).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from runner import __version__
from runner.desk.contact_sheet import MOST_TASKS, ContactSheet, data_of, read_contact_sheet
from runner.desk.posters import Poster, Tell, posters
from runner.durable import replace_file
from runner.errors import StateError
from runner.job.files.sources import JobCopy
from runner.ledger.states import STATE_WORDS
from runner.plural import count
from runner.project import Project
from runner.record.folder import RunFolder
from runner.record.manifest import ManifestCost
from runner.record.whereabouts import whereabouts
from runner.times import duration_words
from runner.typed_json import members
from runner.work.hire import Workers

MOST_POSTER_BYTES = 32 << 20
"""Posters past this are left out, in the order of the plan: a page of 50 MB still opens at once."""

_PAGE = Path(__file__).resolve().parent / "page"
_SCRIPTS = ("dom", "arrange", "tiles", "play", "details", "marks", "timeline", "keys", "start")


@dataclass(frozen=True, slots=True)
class Report:
    """`without_poster` counts the videos that are there and have no picture yet; `unreadable` says by path
    what is wrong with those that FFmpeg cannot read.
    """

    path: Path
    without_poster: int
    unreadable: Mapping[str, str]


def make_report(
    project: Project,
    run_id: str,
    *,
    patience: float,
    tell: Tell | None = None,
    workers: Workers | None = None,
) -> Report:
    """Writes `report.html` of a run, atomically, from what its folder holds; blocking.

    `patience` is seconds for new posters, which `workers` make; `tell` hears how far they are. Raises
    StateError where there is no manifest, or where the page cannot be written, UsageError where `run_id` is
    not the id of a run, and what `hire` does.
    """
    folder = RunFolder(project, run_id)
    job = JobCopy(b"")
    with contextlib.suppress(StateError):  # without it the page offers no `pick` lines
        job = folder.job_copy()
    with whereabouts(project) as known:
        sheet = read_contact_sheet(
            folder.manifest, job, root=project.root, now=known.now, stored=known.stored
        )
    made = posters(project, sheet.videos, folder.manifest, patience=patience, tell=tell, workers=workers)
    page = render(sheet, made)
    with replace_file(folder.report) as file:
        file.write(page.encode())
    unreadable = {path: poster.why for path, poster in made.items() if poster.why}
    lacking = sum(poster.is_there and poster.image is None for poster in made.values())
    return Report(folder.report, lacking - len(unreadable), unreadable)


def render(sheet: ContactSheet, posters: Mapping[str, Poster]) -> str:
    """The whole page."""
    style, scripts = _read("page.css"), "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    script = f"(() => {{\n'use strict';\n{scripts}}})();"
    missing = [path for path, poster in posters.items() if not poster.is_there]
    stored = {video.path: video.fetch for video in sheet.videos if video.fetch}
    data = {**data_of(sheet), "posters": _posters(sheet, posters), "missing": missing, "stored": stored}
    page: str = _template().render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  our own files
        script=Markup(script),  # noqa: S704
        data=htmlsafe_json_dumps(data, separators=(",", ":"), ensure_ascii=False, default=members),
        version=__version__,
        **_head(sheet),
    )
    return page


def _posters(sheet: ContactSheet, posters: Mapping[str, Poster]) -> dict[str, str]:
    """Data URIs by path."""
    told: dict[str, str] = {}
    room = MOST_POSTER_BYTES
    for video in sheet.videos:
        image = posters[video.path].image if video.path in posters else None
        room -= len(image or b"")
        if image is not None and room >= 0:
            told[video.path] = "data:image/webp;base64," + base64.b64encode(image).decode()
    return told


def _head(sheet: ContactSheet) -> dict[str, object]:
    run, counts = sheet.manifest.run, sheet.manifest.counts
    total = counts.total + counts.not_in_plan
    worked = sum(end - begin for begin, end in sheet.sessions) / 1000
    open_words = [(word, number) for word, number in sheet.words.items() if word not in _ENDED]
    figures = {
        "tasks": f"{total:,}",
        "video": duration_words(sheet.video_seconds) if sheet.video_seconds else "none",
        "spend": _spend_words(sheet.manifest.usage.cost, is_rehearsal=sheet.is_rehearsal),
        "took": duration_words(worked),
    }
    if tokens := sheet.manifest.usage.total_tokens:
        figures["tokens"] = f"{tokens:,}"
    if counts.cached:
        figures["from earlier runs"] = f"{counts.cached:,}"
    return {
        "run": run,
        "started": datetime.fromisoformat(run.started_at).strftime("%-d %b %Y, %H:%M UTC"),
        "figures": figures,
        "is_rehearsal": sheet.is_rehearsal,
        "is_unfinished": run.finished_at is None,
        "open_words": ", ".join(f"{number} {word}" for word, number in open_words),
        "resume": sheet.commands.resume(),
        "run_again": sheet.commands.run(),
        "waits": sheet.waits,
        "left_out": max(0, total - MOST_TASKS),
        "command": sheet.commands.line("report", run.id),
        "session": run.last_session,
        "tasks_words": count(total, "task"),
    }


_ENDED = frozenset(words.shown for state, words in STATE_WORDS.items() if state.is_terminal)


def _policy(style: str, script: str) -> str:
    """Nothing but our own script and style, pictures and videos beside the page, and no DOM sinks.

    `file:` is for browsers that do not count the files beside a file as its own.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data: 'self' file:",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("page.html"))


@functools.cache
def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _spend_words(cost: ManifestCost, *, is_rehearsal: bool) -> str:
    """The cost of a run; an unknown cost is told as unknown, never as zero."""
    if not cost.tasks:
        return "nothing was submitted"
    if cost.usd is None:
        return "price not known"
    known = f"USD {cost.usd}"
    known += f", {cost.unpriced_tasks} without a price" if cost.unpriced_tasks else ""
    return f"{known} (rehearsed)" if is_rehearsal else known
