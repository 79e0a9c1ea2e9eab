"""A manifest to the facts of a contact sheet: what the page's script draws, and what its head says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from runner.desk.advice import WORDS, Commands, advice
from runner.desk.axes import Axes
from runner.desk.picks import is_picked, pick_entry, pickable_steps
from runner.desk.timeline import PHASES, sessions, spans
from runner.desk.words import milliseconds
from runner.http.access import is_loopback
from runner.job.cost import usd_as_today
from runner.json_value import JsonValue
from runner.ledger.states import TaskState
from runner.providers import find
from runner.record.lines import scan_manifest

MOST_TASKS = 5_000
"""More than anybody looks at; a page of them is some 25 MB. The manifest has the rest."""
_SHORT = 8
"""Digits of an identity that tell it from others, and that `show` takes."""
EMBEDDED = "sandbox"
"""What a manifest says for the address of the embedded sandbox."""
_TO_ROOT = "../../"
"""From `runs/<run id>/` to the directory that output paths are relative to."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video of a run: `path` as in the manifest."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that a page says. `members` are the manifest's but its tasks; `tasks` and `axes` are JSON.

    `videos` are those of the tasks, in their order. `words` counts tasks by state, as people say it.
    """

    members: Mapping[str, Any]
    tasks: tuple[dict[str, Any], ...]
    axes: tuple[dict[str, object], ...]
    sessions: tuple[tuple[int, int], ...]
    videos: tuple[Video, ...]
    words: Mapping[str, int]
    video_seconds: float
    is_rehearsal: bool
    commands: Commands
    waits: tuple[str, ...]
    """Steps whose `pick: []` waits for a person, where something is there to be picked."""


@dataclass(slots=True)
class _Known:
    """What later tasks of a plan refer to."""

    step: str
    cell: Mapping[str, Any]
    needs: str | None


@dataclass(slots=True)
class _Builder:
    """Takes the tasks of a manifest one by one."""

    run: Mapping[str, Any]
    commands: Commands
    start: int
    end: int
    picks: Mapping[str, Sequence[JsonValue] | None]
    tasks: list[dict[str, Any]] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    axes: Axes = field(default_factory=Axes)
    models: dict[str, set[str]] = field(default_factory=dict)
    seconds: float = 0.0
    departed: Counter[str] = field(default_factory=Counter)
    """States of the tasks that are no longer in the plan."""
    _known: dict[str, _Known] = field(default_factory=dict)
    _above: list[tuple[_Known, dict[str, Mapping[str, Any]]]] = field(default_factory=list)

    def add(self, task: dict[str, Any]) -> None:
        known = _Known(task["step"], task["cell"], task.get("needs"))
        if known.step:
            self._known[task["identity"]] = known
        above = self._cells_above(known)
        self.models.setdefault(known.step, set()).add(task["model"])
        videos = _videos(task)
        self.videos += [Video(row["path"], row["sha256"]) for row in videos]
        self.seconds += sum((row["media"] or {}).get("duration") or 0.0 for row in videos)
        self._above.append((known, above))
        places = self.axes.places(known.step, known.cell, above)
        if not task.get("in_plan", True):
            self.departed[task["state"]] += 1
        self.tasks.append({**self._facts(task), "at": places, "videos": [_video(row) for row in videos]})

    def add_picks(self) -> None:
        """Gives each task that may be picked its line, once the models of all steps are known."""
        several = {step: len(models) > 1 for step, models in self.models.items()}
        for task, (known, above) in zip(self.tasks, self._above, strict=True):
            if known.step in self.picks and task["in_plan"]:
                of_task = {known.step: several[known.step], **{name: several[name] for name in above}}
                task["pick"] = pick_entry(known.cell, above, several_models=of_task)
                task["picked"] = is_picked(self.picks[known.step] or (), known.cell, above)

    def _cells_above(self, known: _Known) -> dict[str, Mapping[str, Any]]:
        cells: dict[str, Mapping[str, Any]] = {}
        while known.needs is not None and (upper := self._known.get(known.needs)) is not None:
            cells[upper.step] = upper.cell
            known = upper
        return cells

    def _facts(self, task: Mapping[str, Any]) -> dict[str, Any]:
        latest = task["attempts"][-1] if task["attempts"] else {}
        found = advice(task, self.commands)
        request = task["request"]
        in_plan, short = task.get("in_plan", True), task["identity"][:_SHORT]
        return {
            "number": None if task["index"] is None else task["index"] + 1,
            "in_plan": in_plan,
            "name": task["name"] if in_plan else f"{task['name']} ({short})",
            "step": task["step"],
            "state": WORDS[TaskState(task["state"])],
            "cached": task["cached"],
            "model": task["model"],
            "seed": task["seed"],
            "echo": (task["echo"] or {}).get("seed"),
            "sample": task["sample"],
            "prompt": _prompt(request),
            "request": {name: value for name, value in request.items() if _is_plain(name, value)},
            "aspect": _aspect(task),
            "inputs": [file["path"] or file["sha256"][:_SHORT] for file in task["inputs"]],
            "others": [
                {"kind": row["kind"], "path": row["path"], "href": href(row["path"])}
                for row in task["outputs"]
                if row["kind"] != "video"
            ],
            "tokens": (task["usage"] or {}).get("total_tokens"),
            "cost": _usd(latest.get("cost_usd")),
            "estimate": _usd(latest.get("estimate_usd") or task["estimate"]["usd"]),
            "remote": latest.get("remote_id"),
            "attempts": [
                {
                    "reason": one["reason"],
                    "state": one["state"],
                    "cost": _usd(one["cost_usd"]),
                }
                for one in task["attempts"]
            ],
            "error": task["error"],
            "advice": None if found is None else {"text": found.text, "command": found.command},
            "show": self.commands.line("show", task["name"] if in_plan else short),
            "spans": spans(task, start=self.start, end=self.end),
        }


def build_sheet(manifest: Path, job_text: bytes) -> Sheet:
    """The sheet of the manifest at that path; `job_text` is the job file as run. Raises StateError."""
    # what stands behind the tasks is needed for each of them
    members = scan_manifest(manifest, lambda _: None, most=0)
    run = members["run"]
    commands = Commands(run["id"], run["job_file"], _option(run))
    start, end = milliseconds(run["started_at"]), _end(run)
    picks = pickable_steps(job_text)
    builder = _Builder(run, commands, start, end, picks)
    scan_manifest(manifest, builder.add, most=MOST_TASKS)
    builder.add_picks()
    done = {task["step"] for task in builder.tasks if task["videos"]}
    return Sheet(
        members=members,
        tasks=tuple(builder.tasks),
        axes=tuple(builder.axes.listed()),
        sessions=tuple(sessions(run, start=start, end=end)),
        videos=tuple(builder.videos),
        words=_words(builder.departed + Counter(members["counts"]["by_state"])),
        video_seconds=builder.seconds,
        is_rehearsal=_is_rehearsal(run),
        commands=commands,
        waits=tuple(step for step, picked in picks.items() if picked == [] and step in done),
    )


def data_of(sheet: Sheet) -> dict[str, Any]:
    """What the page's script reads; posters are added to it by the path of their video."""
    run = sheet.members["run"]
    return {
        "run": run["id"],
        "job": run["job_file"],
        "tasks": sheet.tasks,
        "axes": sheet.axes,
        "sessions": sheet.sessions,
        "phases": PHASES,
        "words": list(sheet.words),
        "rehearsal": sheet.is_rehearsal,
        "again": sheet.commands.run(),
    }


def href(path: str) -> str:
    """The file at `path`, as the page links to it; empty for a path that leaves the directory."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        return ""
    return _TO_ROOT + quote(pure.as_posix())


def _usd(text: str | None) -> str | None:
    return None if text is None else usd_as_today(text)


def _words(by_state: Mapping[str, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for state, word in WORDS.items():
        counts[word] += by_state.get(state, 0)
    return {word: count for word, count in counts.items() if count}


def _option(run: Mapping[str, Any]) -> tuple[str, ...]:
    provider = find(run["provider"])
    if run["origin"] == EMBEDDED:
        return ("--sandbox",)
    return () if provider is not None and provider.origin == run["origin"] else ("--base-url", run["origin"])


def _is_rehearsal(run: Mapping[str, Any]) -> bool:
    return run["origin"] == EMBEDDED or is_loopback(run["origin"])


def _end(run: Mapping[str, Any]) -> int:
    """When somebody last worked on the run, in Unix milliseconds."""
    times = [run["started_at"], run["finished_at"]]
    times += [session[key] for session in run["sessions"] for key in ("started_at", "ended_at")]
    return max(milliseconds(time) for time in times if time is not None)


def _videos(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task's videos, the first take first: `boat.mp4`, then `boat-2.mp4`."""
    rows = [row for row in task["outputs"] if row["kind"] == "video"]
    return sorted(rows, key=lambda row: (len(row["path"]), row["path"]))


def _video(row: Mapping[str, Any]) -> dict[str, Any]:
    media = row["media"] or {}
    return {
        "path": row["path"],
        "href": href(row["path"]),
        "bytes": row["bytes"],
        **{key: media.get(key) for key in ("width", "height", "duration", "fps", "codec", "has_sound")},
    }


def _aspect(task: Mapping[str, Any]) -> float:
    """Width by height: of the video, else as asked for, else 16:9."""
    for row in task["outputs"]:
        media = row["media"] or {}
        if row["kind"] == "video" and media.get("width") and media.get("height"):
            return round(float(media["width"]) / float(media["height"]), 4)
    ratio = task["request"].get("ratio") or task["request"].get("aspect_ratio")
    wide, colon, high = str(ratio).partition(":")
    if colon and wide.isdigit() and high.isdigit() and int(wide) and int(high):
        return round(min(4.0, max(0.25, int(wide) / int(high))), 4)
    return round(16 / 9, 4)


def _prompt(request: Mapping[str, Any]) -> str:
    content = request.get("content")
    items = content if isinstance(content, list) else []
    texts = [item["text"] for item in items if isinstance(item, dict) and isinstance(item.get("text"), str)]
    if isinstance(request.get("prompt"), str):
        texts.insert(0, request["prompt"])
    return "\n".join(texts)


def _is_plain(name: str, value: object) -> bool:
    return name not in ("model", "seed", "prompt") and isinstance(value, str | int | float)
