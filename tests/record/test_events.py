"""The log of events: whole lines, no secrets, and never in the way."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import StateError
from runner.json_value import JsonValue
from runner.ledger.states import TaskState
from runner.record.events import EventLog, Own, fan_out
from runner.redact import REMOVED, Redactor

CANARY = "rsk_canary0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def log(path: Path, told: list[str]) -> Iterator[EventLog]:
    made = EventLog(path, wall=lambda: 1_795_000_000.5, redactor=Redactor([CANARY]), tell=told.append)
    yield made
    made.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """No file can grow past `size` bytes: the disk is as good as full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_is_one_line_of_json_on_the_disk_at_once(log: EventLog, path: Path) -> None:
    log("task.submitted", {"task": "s1", "state": TaskState.SUBMITTED, "bytes": 12, "took": 0.5})

    assert path.read_text() == (
        '{"at":"2026-11-18T11:06:40.500Z","event":"task.submitted",'
        '"task":"s1","state":"submitted","bytes":12,"took":0.5}\n'
    )


def test_the_file_is_private_and_appended_to(log: EventLog, path: Path) -> None:
    log("run.started", {})
    again = EventLog(path, wall=lambda: 0.0, redactor=Redactor(()))
    again("run.resumed", {})
    again.close()

    assert [line["event"] for line in lines(path)] == ["run.started", "run.resumed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.security(17)
def test_secrets_and_control_characters_stay_out(log: EventLog, path: Path) -> None:
    log(f"odd.{CANARY}\x1b", {"url": "https://h.test/v?sig=hidden", CANARY: [CANARY, "\u202ex\n"]})

    [line] = lines(path)
    assert line["event"] == rf"odd.{REMOVED}\x1b"
    assert line["url"] == "https://h.test/v"
    assert line[REMOVED] == [REMOVED, r"\u202ex\n"]
    assert "\u202e" not in path.read_text(encoding="utf-8")


def test_a_field_cannot_pass_for_the_time_or_the_name(log: EventLog, path: Path) -> None:
    log("task.done", {"event": "task.failed", "at": "never", "level": "info", "fields": 1})

    [line] = lines(path)
    assert (line["event"], line["at"]) == ("task.done", "2026-11-18T11:06:40.500Z")
    assert (line["level"], line["fields"]) == ("info", 1)


def test_a_field_that_breaks_loses_its_line_and_nothing_else(
    log: EventLog, path: Path, told: list[str]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError(f"no text for https://h.test/?k={CANARY}")

    log("a", {})
    for _ in range(3):
        log("b", {"value": Broken()})
    log("c", {})

    assert [line["event"] for line in lines(path)] == ["a", "c", "log.lost"]
    assert lines(path)[-1]["lines"] == 3
    assert log.lost == 3
    [sentence] = told
    assert sentence.startswith(f"{path}: events are being lost")
    assert CANARY not in sentence


def test_a_full_disk_is_told_once_stops_nothing_and_tears_no_later_line(
    log: EventLog, path: Path, told: list[str]
) -> None:
    log("run.started", {})
    with no_more_than(path.stat().st_size + 20):
        for _ in range(5):
            log("task.done", {"task": "s1"})
    log("run.ended", {})

    first, torn, *rest = path.read_text().splitlines()
    assert json.loads(first)["event"] == "run.started"
    assert len(torn) == 20
    assert [json.loads(line)["event"] for line in rest] == ["run.ended", "log.lost"]
    assert json.loads(rest[-1])["lines"] == log.lost == 5
    assert len(told) == 1


def test_a_line_cut_by_a_kill_is_ended_before_the_next(path: Path) -> None:
    path.write_text('{"at":"2026-11-18T11:06:40.500Z","ev')
    log = EventLog(path, wall=lambda: 0.0, redactor=Redactor(()))
    log("run.resumed", {})
    log.close()

    torn, whole = path.read_text().splitlines()
    assert torn.endswith('"ev')
    assert json.loads(whole)["event"] == "run.resumed"


@pytest.mark.security(6)
def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StateError, match="cannot write the log"):
        EventLog(path, wall=lambda: 0.0, redactor=Redactor(()))

    assert not (tmp_path / "elsewhere").exists()


def test_several_observers_are_told_in_order() -> None:
    heard: list[tuple[str, str, Mapping[str, object]]] = []
    fields: dict[str, JsonValue] = {"task": "s1"}

    fan_out(
        lambda name, fields: heard.append(("first", name, fields)),
        lambda name, fields: heard.append(("second", name, fields)),
    )("task.done", fields)

    assert heard == [("first", "task.done", fields), ("second", "task.done", fields)]


def test_every_event_that_is_sent_has_a_row_in_the_reference() -> None:
    top = Path(__file__).resolve().parents[2]
    sources = [
        source for room in ("lane", "run", "record") for source in (top / "runner" / room).glob("*.py")
    ]
    sent = {
        name
        for source in sources
        for name in re.findall(r'"((?:run|task|collect|log)\.[a-z_]+)"', source.read_text(encoding="utf-8"))
    }
    reference = (top / "docs" / "reference" / "events.md").read_text(encoding="utf-8")

    assert {"run.started", "task.submitted", "log.lost"} <= sent
    assert {name for name in sent if f"`{name}`" not in reference} == set()


def test_a_value_of_ours_is_written_as_it_is_without_its_secrets(log: EventLog, path: Path) -> None:
    """A prompt keeps its line breaks: who reads the log back has the request that was sent."""
    log("task.intended", {"intent": Own({"text": f"a\nb \x1b {CANARY}", "url": "https://a.test/b?sig=1"})})
    [line] = path.read_text().splitlines()
    assert json.loads(line)["intent"] == {"text": f"a\nb \x1b {REMOVED}", "url": "https://a.test/b"}
    assert line.isprintable()
