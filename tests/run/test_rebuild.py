"""A ledger made from logs: whatever they say, it can be made, and nothing that was accepted is forgotten."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.ledger.caps import Budgets
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow
from runner.ledger.states import OPEN, TaskState
from runner.project import init_project
from runner.record.recovery import read_runs
from runner.run.rebuild import Rebuild
from tests.support.ledger_story import make_task

RUNS = ("20260531T220000Z-a1b2c3", "20260601T220000Z-a1b2c4")
IDENTITIES = [make_task(number).identity for number in (1, 2)]
ATTEMPTS = [f"{number}" * 32 for number in range(1, 6)]
NOW = 1_800_000_000.0

INTENT = {
    "at": "2026-05-31T22:00:00.000Z",
    "reason": "run",
    "key": "0123456789ab",
    "tag": 7,
    "body_sha256": "00",
    "server_time": "2026-05-31T22:00:00.000Z",
    "price": {"usd_per_mtok": "2"},
    "estimate_usd": "0.25",
    "taken": None,
    "labels": {"client": "acme"},
    "step": "",
    "provider": "mesh",
    "origin": "https://api.example.test",
    "model": "byteplus/seedance-1-0-pro",
    "seed": 1,
    "sample": None,
    "edition": "",
    "cell": {"seed": 1},
    "request": {"seed": 1},
    "output": "out/s1.mp4",
}

SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "intent": st.fixed_dictionaries({**{name: st.just(value) for name, value in INTENT.items()}})
    | st.fixed_dictionaries(
        {
            **{name: st.just(value) for name, value in INTENT.items()},
            "reason": st.sampled_from(["run", "retry", "again", "reconcile", "whim"]),
            "at": st.sampled_from(["2026-05-31T22:00:00.000Z", "yesterday", "2026-06-02T00:00:00.000Z"]),
        }
    ),
    "remote_id": st.sampled_from(["t-1", "t-2", "t-3", "a b", "", None]),
    "verdict": st.sampled_from(["rejected", "not_sent", "accepted", "ambiguous", "perhaps", None]),
    "status": st.sampled_from([400, 500, None, "500"]),
    "row": st.sampled_from([9, 20, -1, "x"]),
    "reason": st.sampled_from(["reset", "", None]),
    "basis": st.sampled_from(["tag", "none", "guess", None]),
    "code": st.just("c"),
    "error": st.just("e"),
    "path": st.sampled_from(["out/s1.mp4", "../s1.mp4", "/etc/passwd", "out/s1.last.png", 5]),
    "bytes": st.sampled_from([3, -1, "x"]),
    "sha256": st.sampled_from(["0" * 64, "short"]),
    "kind": st.sampled_from(["video", "last_frame", "song"]),
    "ordinal": st.sampled_from([1, 2, "x"]),
}
EVENTS = [
    "task.intended",
    "task.submitted",
    "task.refused",
    "task.ambiguous",
    "task.held",
    "task.adopted",
    "task.found",
    "task.never_accepted",
    "task.reopened",
    "task.file",
    "task.done",
    "task.failed",
    "task.expired",
    "log.lost",
    "run.started",
    "run.finished",
]


def line(event: str, minute: int, number: int, fields: dict[str, Any]) -> dict[str, Any]:
    who = {"task": "s1", "identity": IDENTITIES[number % 2], "attempt": ATTEMPTS[number]}
    return {"at": f"2026-05-31T22:{minute:02}:00.000Z", "event": event, **who, **fields}


def sensible(event: str, number: int) -> dict[str, Any]:
    """The fields that such an event has."""
    return {
        "task.intended": {"intent": INTENT, "account": "mesh"},
        "task.submitted": {"remote_id": f"t-{number}"},
        "task.adopted": {"remote_id": f"t-{number}", "basis": "tag", "tag": 7},
        "task.found": {"remote_id": f"t-{number}", "basis": "tag", "tag": 7, "was": "absent"},
        "task.refused": {"verdict": "rejected", "status": 429, "reason": "busy", "row": 9, "again": True},
        "task.ambiguous": {"reason": "reset", "row": 9, "status": None},
        "task.held": {"reason": "no list", "basis": "none"},
        "task.file": {"path": "out/s1.mp4", "bytes": 3, "kind": "video", "ordinal": 1, "sha256": "0" * 64},
        "task.failed": {"code": "c", "error": "e"},
        "task.expired": {"code": "gone", "error": "e"},
    }.get(event, {})


usual = st.builds(
    lambda event, minute, number: line(event, minute, number, sensible(event, number)),
    st.sampled_from(EVENTS[:13]),
    st.integers(0, 59),
    st.integers(0, 4),
)
strange = st.builds(
    line,
    st.sampled_from(EVENTS),
    st.integers(0, 59),
    st.integers(0, 4),
    st.fixed_dictionaries({}, optional={**SENSIBLE, "identity": st.sampled_from([*IDENTITIES, "x"])}),
)
lines = st.one_of(usual, usual, usual, strange)
stories = st.lists(
    st.builds(
        # in the order of a life, and cut somewhere
        lambda number, events, minute: [line(e, minute, number, sensible(e, number)) for e in events],
        st.integers(0, 4),
        st.lists(st.sampled_from(EVENTS[1:13]), max_size=3).map(lambda events: ["task.intended", *events]),
        st.integers(0, 59),
    ),
    max_size=4,
).map(lambda each: [one for story in each for one in story])
logs_of = st.one_of(stories, st.lists(lines, max_size=14))


def rebuilt(root: Path, logs: list[list[dict[str, Any]]], cut: int, times: int = 1) -> Ledger:
    project = init_project(root)
    for run, log in zip(RUNS, logs, strict=True):
        folder = project.runs_dir / run
        folder.mkdir(parents=True)
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in log)
        (folder / "events.jsonl").write_text(text[: len(text) - cut] if cut < len(text) else text)
    ledger = Ledger(open_for_writing(None), Budgets())
    for _ in range(times):
        rebuild = Rebuild(
            ledger, read_runs(project), project.base, NOW, None, {}, lambda start: start, lambda run: None
        )
        with ledger.transaction():
            rebuild.run()
    return ledger


def told_ids(logs: list[list[dict[str, Any]]]) -> set[tuple[str, str]]:
    """Attempts with their ids at the service, by lines that are as they should be."""
    return {
        (each["attempt"], each["remote_id"])
        for log in logs
        for each in log
        if each["event"] == "task.submitted"
        and each == line("task.submitted", int(each["at"][14:16]), number_of(each), each_fields(each))
    }


def number_of(each: dict[str, Any]) -> int:
    return ATTEMPTS.index(each["attempt"])


def each_fields(each: dict[str, Any]) -> dict[str, Any]:
    return sensible(each["event"], number_of(each))


FOLLOWED = [
    line("task.submitted", 0, 0, {"remote_id": "t-1"}),
    line("task.intended", 0, 2, {"intent": INTENT, "account": "mesh"}),
    line("task.submitted", 0, 0, {"remote_id": "t-0"}),
]
"""An attempt of two ids, which another of its task has followed."""
WITHDRAWN = [
    line("task.intended", 0, 0, sensible("task.intended", 0)),
    line("task.refused", 1, 0, sensible("task.refused", 0)),
    line("task.submitted", 2, 0, {"remote_id": "t-1"}),
    line("task.submitted", 3, 0, {"remote_id": "t-0"}),
    line("task.refused", 4, 0, sensible("task.refused", 0)),
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([], FOLLOWED, 0)
@example(WITHDRAWN, [], 0)
@given(logs_of, logs_of, st.sampled_from([0, 0, 0, 40]))
def test_any_log_makes_a_ledger_in_which_nothing_accepted_may_be_sent_again(
    first: list[dict[str, Any]], second: list[dict[str, Any]], cut: int
) -> None:
    logs = [first, second]
    with tempfile.TemporaryDirectory() as folder:
        ledger = rebuilt(Path(folder), logs, cut)
        for attempt in ATTEMPTS:
            row = ledger.read.attempt(attempt)
            ids = {remote_id for each, remote_id in told_ids(logs) if each == attempt}
            if row is None or not ids or cut:
                continue
            assert not may_go_again(row), (attempt, row.state, row.resolution)
        newest = ledger.read.latest(IDENTITIES)
        unclear = [row for row in newest.values() if row.state in OPEN]
        assert all(row.state is not TaskState.INTENDED for row in unclear)
        ledger.close()


def may_go_again(row: AttemptRow) -> bool:
    """Whether a run would submit its task again without asking anybody."""
    return row.state is TaskState.PLANNED


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs_of)
def test_a_ledger_that_has_been_made_is_not_changed_by_another_time(first: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as once, tempfile.TemporaryDirectory() as twice:
        one, two = rebuilt(Path(once), [first, []], 0), rebuilt(Path(twice), [first, []], 0, times=2)
        for attempt in ATTEMPTS:
            before, after = one.read.attempt(attempt), two.read.attempt(attempt)
            assert (before is None) == (after is None)
            if before is not None and after is not None:
                assert (before.state, before.remote_id) == (after.state, after.remote_id)
        one.close()
        two.close()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading(noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = init_project(Path(folder))
        run = project.runs_dir / RUNS[0]
        run.mkdir(parents=True)
        (run / "events.jsonl").write_bytes(b'{"at":"2026-05-31T22:00:00.000Z","event":"task.done"' + noise)
        (run / "manifest.json").write_bytes(b'{\n"manifest_version": 1,\n"tasks": [\n' + noise)
        assert read_runs(project).attempts == {}
