"""What a contact sheet says of a run, read from its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from runner.desk.grid import Cell, Grid
from runner.desk.next_step import Commands, next_step
from runner.desk.timeline import PHASES, milliseconds, sessions, spans
from runner.errors import CallsheetError
from runner.http.access import is_loopback
from runner.job.files.extends import whole_document
from runner.job.files.sources import JobCopy
from runner.job.project.load_project import readable_project_file
from runner.job.yaml.nodes import to_data
from runner.json_value import JsonValue
from runner.ledger.states import STATE_WORDS, TaskState
from runner.plan.picks import means, pick_pattern
from runner.providers import every, find
from runner.providers.base import RemoteFileKind
from runner.record.manifest import (
    Manifest,
    ManifestFile,
    ManifestRun,
    ManifestTask,
    read_manifest,
    read_tasks,
)

MOST_TASKS = 5_000
"""More than anybody looks at; a page of them is some 25 MB. The manifest has the rest."""
_SHORT = 8
"""Digits of an identity that tell it from others, and that `show` takes."""
EMBEDDED = "sandbox"
"""What a manifest says for the address of the embedded sandbox."""
_TO_ROOT = "../../"
"""From `runs/<run id>/` to the directory that output paths are relative to."""


Now = Callable[[ManifestFile], ManifestFile | None]
"""Gives a file with its path of today; None where it is nowhere."""


Stored = Callable[[Sequence[ManifestFile]], Mapping[str, str]]
"""Gives, by digest, the address of the copy of each file that lies in a store."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video of a run; `is_lost` where its path has another file by now, and it is nowhere else. `fetch` is
    the command that brings it back from a store; empty where none has it.
    """

    path: str
    sha256: str
    is_lost: bool = False
    fetch: str = ""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """All that a page says. `tasks` and `axes` are JSON for its script. `videos` are those of the tasks, in
    their order. `words` counts tasks by state, as people say it.
    """

    manifest: Manifest
    tasks: tuple[dict[str, object], ...]
    axes: tuple[dict[str, object], ...]
    sessions: tuple[tuple[int, int], ...]
    videos: tuple[Video, ...]
    words: Mapping[str, int]
    video_seconds: float
    is_rehearsal: bool
    commands: Commands
    waits: tuple[str, ...]
    """Steps whose `pick: []` waits for a person, where something is there to be picked."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The facts that later tasks of a plan refer to."""

    step: str
    cell: Cell
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A task as the page's script reads it, and what its pick line is made of."""

    facts: dict[str, object]
    known: _Known
    above: Mapping[str, Cell]
    is_pickable: bool


@dataclass(slots=True)
class _Builder:
    """Takes the tasks of a manifest one by one."""

    commands: Commands
    provider: str
    """The run's own, where a task names none."""
    start: int
    end: int
    picks: Mapping[str, Sequence[JsonValue] | None]
    now: Now
    stored: Stored
    drawn: list[_Drawn] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    """Steps that have a video."""
    grid: Grid = field(default_factory=Grid)
    models: dict[str, set[str]] = field(default_factory=dict)
    seconds: float = 0.0
    departed: Counter[TaskState] = field(default_factory=Counter)
    """States of the tasks that are no longer in the plan."""
    _known: dict[str, _Known] = field(default_factory=dict)

    def add(self, task: ManifestTask) -> None:
        needs = () if task.needs is None else (task.needs, *task.also_needs)
        known = _Known(task.step, task.cell, needs)
        if known.step:
            self._known[task.identity] = known
        above = self._cells_above(known)
        self.models.setdefault(known.step, set()).add(task.model)
        # the first take first: `boat.mp4`, then `boat-2.mp4`
        files = sorted(task.videos, key=lambda file: (len(file.path), file.path))
        if files:
            self.made.add(task.step)
        found = [(self.now(file), file) for file in files]
        stored, fetch = self.stored(files), self.commands.line("fetch", task.name)
        self.videos += [
            Video((now or file).path, file.sha256, now is None, fetch if file.sha256 in stored else "")
            for now, file in found
        ]
        videos = [_video(now or file, is_lost=now is None) for now, file in found]
        self.seconds += sum(file.media.duration or 0.0 for file in files)
        places = self.grid.places(known.cell, above)
        if not task.in_plan:
            self.departed[task.state] += 1
        facts = {**self._facts(task), "at": places, "videos": videos}
        self.drawn.append(_Drawn(facts, known, above, task.in_plan and task.step in self.picks))

    def tasks(self) -> Iterator[dict[str, object]]:
        """All tasks, and for each that may be picked its line: that takes the models of all steps."""
        several = {step: len(models) > 1 for step, models in self.models.items()}
        for task in self.drawn:
            if not task.is_pickable:
                yield task.facts
                continue
            step, cell = task.known.step, task.known.cell
            of_task = {step: several[step], **{name: several[name] for name in task.above}}
            picks = (entry for entry in self.picks[step] or () if isinstance(entry, dict))
            yield {
                **task.facts,
                "pick": f"- {pick_pattern({step: cell, **task.above}, of_task)}",
                "picked": any(means(entry, cell, task.above) for entry in picks),
            }

    def _cells_above(self, known: _Known) -> dict[str, Cell]:
        found = (self._known.get(identity) for identity in reversed(known.needs))
        above = [upper for upper in found if upper is not None and upper.step != known.step]
        cells = {upper.step: upper.cell for upper in above}
        for upper in above:
            for step, cell in self._cells_above(upper).items():
                cells.setdefault(step, cell)
        return cells

    def _facts(self, task: ManifestTask) -> dict[str, object]:
        latest, short = task.latest, task.identity[:_SHORT]
        # where it is not installed, prompts and ratios are not read
        provider = find(task.provider or self.provider)
        dialect = None if provider is None else provider.dialect
        bought_for = latest.estimate_usd if latest is not None else None
        return {
            "number": None if task.index is None else task.index + 1,
            "in_plan": task.in_plan,
            "name": task.name if task.in_plan else f"{task.name} ({short})",
            "step": task.step,
            "state": STATE_WORDS[task.state].shown,
            "cached": task.cached,
            "model": task.model,
            "account": task.account or task.provider or self.provider,
            "seed": task.seed,
            "echo": task.echoed_seed,
            "sample": task.sample,
            "prompt": "\n".join(text for _, text in dialect.texts(task.request)) if dialect else "",
            "request": {name: value for name, value in task.request.items() if _is_plain(name, value)},
            "aspect": _aspect(task, dialect.asked(task.request).ratio if dialect else None),
            "inputs": [file.path or file.sha256[:_SHORT] for file in task.inputs],
            "others": [
                {"kind": file.kind, "path": file.path, "href": href(file.path)}
                for file in filter(None, map(self.now, task.outputs))
                if file.kind is not RemoteFileKind.VIDEO
            ],
            "tokens": task.total_tokens,
            "cost": latest.cost_usd if latest is not None else None,
            "estimate": bought_for or task.estimate.usd,
            "remote": latest.remote_id if latest is not None else None,
            "attempts": [
                {"reason": one.reason, "state": one.state, "cost": one.cost_usd} for one in task.attempts
            ],
            "error": task.error,
            "advice": next_step(task, self.commands),
            "show": self.commands.line("show", task.name if task.in_plan else short),
            "spans": spans(task, start=self.start, end=self.end),
        }


def read_contact_sheet(
    manifest: Path,
    job: JobCopy,
    *,
    root: Path,
    now: Now = lambda file: file,
    stored: Stored = lambda _files: {},
) -> ContactSheet:
    """The sheet of the manifest at that path, of `job` as it was run; `now` gives each file with its path of
    today, and `stored` tells which of them lie in a store. Raises StateError.
    """
    # what stands behind the tasks is needed for each of them
    whole = read_manifest(manifest)
    run = whole.run
    origins = run.origin.split(", ")
    own = _own_origins(root)
    is_rehearsal = any(
        origin.partition(":")[0] == EMBEDDED or (is_loopback(origin) and origin not in own)
        for origin in origins
    )
    commands = Commands(run.id, run.job_file, _option(origins, own))
    start, end = milliseconds(run.started_at), _end(run)
    picks = _pickable_steps(job, file=root / run.job_file, root=root)
    builder = _Builder(commands, run.provider, start, end, picks, now, stored)
    for task in islice(read_tasks(manifest), MOST_TASKS):
        builder.add(task)
    return ContactSheet(
        manifest=whole,
        tasks=tuple(builder.tasks()),
        axes=tuple(builder.grid.axes()),
        sessions=tuple(sessions(run, start=start, end=end)),
        videos=tuple(builder.videos),
        words=_words(builder.departed + Counter(whole.counts.by_state)),
        video_seconds=builder.seconds,
        is_rehearsal=is_rehearsal,
        commands=commands,
        waits=tuple(step for step, picked in picks.items() if picked == [] and step in builder.made),
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The sha256 of videos that a run's job picks, and of those that it passes over."""

    picked: frozenset[str]
    passed_over: frozenset[str]


def read_choice(manifest: Path, job: JobCopy, *, root: Path) -> Choice:
    """What `pick` in `job` says of the videos of that manifest; `pick: []` has not chosen yet.

    Raises StateError where there is no manifest.
    """
    sheet = read_contact_sheet(manifest, job, root=root)
    digests = {video.path: video.sha256 for video in sheet.videos}
    chosen: dict[bool, set[str]] = {True: set(), False: set()}
    for task in sheet.tasks:
        if "picked" in task and task["step"] not in sheet.waits:
            chosen[bool(task["picked"])] |= {digests[str(video["path"])] for video in _videos_of(task)}
    return Choice(frozenset(chosen[True]), frozenset(chosen[False]))


def _videos_of(task: Mapping[str, object]) -> list[dict[str, object]]:
    videos = task["videos"]
    assert isinstance(videos, list)
    return videos


def data_of(sheet: ContactSheet) -> dict[str, object]:
    """The data that the page's script reads; posters are added to it by the path of their video."""
    return {
        "run": sheet.manifest.run.id,
        "job": sheet.manifest.run.job_file,
        "tasks": sheet.tasks,
        "axes": sheet.axes,
        "sessions": sheet.sessions,
        "phases": PHASES,
        "words": list(sheet.words),
        "rehearsal": sheet.is_rehearsal,
        "compares": len({task["account"] for task in sheet.tasks}) > 1,
        "again": sheet.commands.run(),
    }


def href(path: str) -> str:
    """The file at `path`, as the page links to it; empty for a path that leaves the directory."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return ""
    return _TO_ROOT + quote(pure.as_posix())


def _pickable_steps(copy: JobCopy, *, file: Path, root: Path) -> dict[str, list[JsonValue] | None]:
    """The steps that another one needs, by name, with their `pick`: `[]` waits for a person.

    Empty if the text is not a job file with several steps.
    """
    try:
        job = to_data(whole_document(copy, file=file, root=root))
    except CallsheetError:
        return {}
    steps = job.get("steps") if isinstance(job, dict) else None
    if not isinstance(steps, dict):
        return {}
    written = {name: step for name, step in steps.items() if isinstance(step, dict)}
    needed = {name for step in written.values() for name in _listed(step.get("needs"))}
    picks = {name: step.get("pick") for name, step in written.items() if name in needed}
    return {name: pick if isinstance(pick, list) else None for name, pick in picks.items()}


def _listed(value: JsonValue) -> Sequence[JsonValue]:
    return value if isinstance(value, list | tuple) else [value]


def _words(by_state: Mapping[TaskState, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for state, words in STATE_WORDS.items():
        counts[words.shown] += by_state.get(state, 0)
    return {word: count for word, count in counts.items() if count}


def _own_origins(root: Path) -> frozenset[str]:
    """Where requests go for real without an option: to the services, and where an account's base URL says."""
    accounts = readable_project_file(root).accounts.values()
    providers = (each.origin + each.base_path for each in every().values())
    return frozenset((*providers, *(account.origin for account in accounts)))


def _option(origins: Sequence[str], own: Set[str]) -> tuple[str, ...]:
    """What leads to the services of a run."""
    if any(origin.partition(":")[0] == EMBEDDED for origin in origins):
        return ("--sandbox",)
    other = next((origin for origin in origins if origin not in own), None)
    return () if other is None else ("--base-url", other)


def _end(run: ManifestRun) -> int:
    """When somebody last worked on the run, in Unix milliseconds."""
    times = [run.started_at, run.finished_at]
    for session in run.sessions:
        times += [session.started_at, session.ended_at]
    return max(milliseconds(time) for time in times if time is not None)


def _video(file: ManifestFile, *, is_lost: bool) -> dict[str, object]:
    media = file.media
    return {
        "path": file.path,
        "href": "" if is_lost else href(file.path),
        "bytes": file.bytes,
        "width": media.width,
        "height": media.height,
        "duration": media.duration,
        "fps": media.fps,
        "codec": media.codec,
        "has_sound": media.has_sound,
    }


def _aspect(task: ManifestTask, ratio: JsonValue) -> float:
    """Width by height: of the video, else as asked for, else 16:9."""
    for file in task.videos:
        if file.media.width and file.media.height:
            return round(file.media.width / file.media.height, 4)
    wide, colon, high = str(ratio).partition(":")
    if colon and wide.isdigit() and high.isdigit() and int(wide) and int(high):
        return round(min(4.0, max(0.25, int(wide) / int(high))), 4)
    return round(16 / 9, 4)


def _is_plain(name: str, value: object) -> bool:
    return name not in ("model", "seed", "prompt") and isinstance(value, str | int | float)
