"""Events in the words that people read."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from runner.cli.display.event_words import QUIET, Known, Weight, raw, words
from runner.times import iso_time
from tests.support.command_process import CHECKOUT

REFUSED = {
    "task": "boat",
    "identity": "ab",
    "verdict": "rejected",
    "status": 503,
    "code": "not_available",
    "message": "try later",
    "reason": "upstream trouble, documented as safe to repeat",
    "row": 14,
    "again": True,
}


def text(name: str, fields: dict[str, object]) -> str | None:
    told = words(name, fields)
    return None if told is None else told.text


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("task.submitted", {"task": "boat", "remote_id": "t-1"}, "boat was accepted"),
        (
            "task.adopted",
            {"identity": "0123456789abcdef" * 4, "remote_id": "t-1"},
            "0123456789ab was accepted: the service's list shows it",
        ),
        ("task.refused", REFUSED, "the service refuses submits for now (503 not_available: try later);"),
        (
            "task.refused",
            {"task": "boat", "verdict": "not_sent", "reason": "no connection", "row": 2, "again": True},
            "the service cannot be reached (no connection); it is tried again",
        ),
        (
            "task.failed",
            {"task": "boat", "code": "policy", "error": "the prompt is refused"},
            "boat failed: policy: the prompt is refused",
        ),
        (
            "task.left",
            {"task": "boat", "identity": "ab", "reason": "boat: not ready after 3600 s"},
            "boat is left for later: not ready after 3600 s",
        ),
        (
            "service.trouble",
            {"status": 503, "code": "upstream", "message": "HTTP 503: upstream: gone"},
            "the service does not answer for now (HTTP 503: upstream: gone); it is asked again",
        ),
        (
            "task.not_shown",
            {"task": "boat", "status": 404, "code": "gone", "message": "HTTP 404: gone: no task"},
            "the service does not show boat for now (HTTP 404: gone: no task); it is looked for again",
        ),
        (
            "run.submitting_stopped",
            {"reason": "the {cap}\nis reached", "exit_code": 3},
            "nothing more is submitted: the {cap}\\nis reached",
        ),
        ("run.stopping", {"reason": "", "exit_code": 130}, "left for later (Ctrl-C again: at once)"),
        ("run.cost_drift", {"tasks": 1, "estimate_usd": "0.05", "cost_usd": "0.1"}, "USD 0.1 instead"),
        ("plugin.news", {"task": "boat", "row": 7, "identity": "ab", "why": "x"}, "plugin.news boat why=x"),
    ],
)
def test_an_event_is_a_sentence(name: str, fields: dict[str, object], told: str) -> None:
    said = text(name, fields)
    assert said is not None
    assert told in said


@pytest.mark.parametrize("name", ["run.finished", "collect.started", "collect.finished", "run.left_at_once"])
def test_what_the_end_of_a_run_says_makes_no_sentence(name: str) -> None:
    assert words(name, {"exit_code": 0, "reasons": ()}) is None


def test_a_refusal_that_ends_the_submitting_is_told_as_that_alone() -> None:
    assert words("task.refused", REFUSED | {"status": 402, "again": False}) is None


def test_each_event_of_the_reference_has_words_of_its_own() -> None:
    """None is shown by its bare name; a field that is missing costs no run."""
    page = (CHECKOUT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:run|task|log|service|collect)\.[a-z_]+)`", page)
    assert len(names) > 30
    for name in names:
        told = words(name, {})
        assert told is None or not told.text.startswith(name.removeprefix("task."))


def test_no_event_of_the_code_is_missing_from_the_reference() -> None:
    page = (CHECKOUT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in _sources("run", "lane", "record"))
    names = set(re.findall(r'"((?:run|task|log|service|collect)\.[a-z_]+)"', code))
    assert len(names) > 25
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def _sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in (CHECKOUT / "runner" / room).glob("*.py")]


@pytest.mark.security(17)
def test_a_sentence_shows_neither_secrets_nor_control_characters() -> None:
    fields: dict[str, object] = {"task": "a\x1b[2J", "error": "https://cdn.example/a.mp4?sig=canary"}
    for told in (text("task.failed", fields), raw("task.failed", fields)):
        assert told is not None
        assert "canary" not in told
        assert "\x1b" not in told


def test_no_text_holds_a_row_of_our_tables() -> None:
    for name in ("task.refused", "task.ambiguous", "task.held"):
        assert "14" not in str(words(name, REFUSED | {"message": "x", "status": None}))
        assert "row" not in raw(name, REFUSED)


def test_with_all_details_an_event_has_its_name_and_its_ids() -> None:
    fields: dict[str, object] = {"task": "a", "identity": "f" * 64, "attempt": "1"}
    assert raw("task.intended", fields) == f"intended a identity={'f' * 64} attempt=1"


def test_trouble_of_the_service_is_news_once() -> None:
    known = Known()
    assert known.is_new("task.refused", REFUSED, 0.0)
    assert not known.is_new("task.refused", REFUSED | {"task": "gull", "message": "id 77"}, 5.0)
    assert not known.is_new("task.refused", REFUSED, 5.0 + QUIET - 1)
    assert known.is_new("task.refused", REFUSED | {"status": 429}, 70.0)
    assert known.repeats() == 2
    assert known.repeats() == 0
    assert known.is_new("task.refused", REFUSED, 1000.0)


def wait(seconds: float, tasks: int = 3, **more: object) -> dict[str, object]:
    return {
        "for": "the list to \x1b catch up",
        "until": iso_time(time.time() + seconds),
        "tasks": tasks,
        **more,
    }


@pytest.mark.fault(74)
def test_a_wait_is_told_with_its_end_and_what_the_service_said() -> None:
    told = text("run.waiting", wait(300, said="slow down"))
    assert told is not None
    assert re.fullmatch(
        r"waiting until \d\d:\d\d:\d\d at the latest for the list to \\x1b catch up \(3 tasks\): slow down",
        told,
    )


@pytest.mark.fault(74)
def test_a_wait_that_is_prolonged_is_told_once() -> None:
    known = Known()
    assert known.is_new("run.waiting", wait(30), 0.0)
    assert not known.is_new("run.waiting", wait(0, tasks=0), 10.0) or words("run.waiting", wait(0)) is None
    assert not known.is_new("run.waiting", wait(30), 31.0)
    assert known.is_new("run.waiting", wait(30), 31.0 + 30.0 + QUIET + 1)


@pytest.mark.parametrize("until", [None, "soon", 7, float("inf"), "9" * 400])
def test_a_wait_without_an_end_is_no_sentence(until: object) -> None:
    assert words("run.waiting", {"for": "x", "until": until, "tasks": 1}) is None


def test_a_step_is_no_news() -> None:
    told = words("task.done", {"task": "boat"})
    assert told is not None
    assert told.weight is Weight.STEP
