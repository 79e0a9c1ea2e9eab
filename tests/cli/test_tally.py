"""How far a run is, by its events."""

from __future__ import annotations

import pytest

from runner.cli.display.tally import Tally


def _tally(*events: tuple[str, str], total: int = 0) -> Tally:
    tally = Tally(total, at_once=4)
    for name, task in events:
        tally.observe(name, {"task": task, "identity": task}, 0.0)
    return tally


def test_each_task_counts_where_it_stands_now() -> None:
    tally = _tally(
        ("task.intended", "a"),
        ("task.submitted", "a"),
        ("task.download", "a"),
        ("task.file", "a"),
        ("task.done", "a"),
        ("task.intended", "b"),
        ("task.submitted", "b"),
        ("task.intended", "c"),
        ("task.ambiguous", "d"),
        ("task.failed", "e"),
        ("task.held", "f"),
    )
    assert tally.counts == {"done": 1, "at the service": 2, "unclear": 1, "failed": 1, "held": 1}


@pytest.mark.parametrize("name", ["task.refused", "task.left"])
def test_a_task_that_is_put_off_is_still_to_come(name: str) -> None:
    assert _tally(("task.intended", "a"), (name, "a")).counts == {}


def test_an_unclear_task_that_is_adopted_is_at_the_service() -> None:
    adopted = _tally(("task.intended", "a"), ("task.ambiguous", "a"), ("task.adopted", "a"))
    assert adopted.counts == {"at the service": 1}


def test_tasks_that_have_ended_are_counted_and_forgotten() -> None:
    """Memory does not grow with a run of 100,000 tasks."""
    tally = _tally(*[("task.done", str(number)) for number in range(1000)])
    assert (tally.counts["done"], tally._under_way) == (1000, {})


def test_what_was_done_before_counts_as_done() -> None:
    tally = Tally(total=2)
    tally.observe("run.cached", {"tasks": 4}, 0.0)
    assert (tally.counts, tally.all) == ({"done": 4}, 6)


def test_nothing_is_said_of_the_time_to_go_where_no_task_has_shown_it() -> None:
    assert Tally(total=5).seconds_to_go(None, 0.0) is None


def test_the_time_to_go_is_that_of_all_tasks_side_by_side() -> None:
    tally = Tally(total=8, at_once=4)
    assert tally.seconds_to_go(100.0, 0.0) == 200.0
    for task in "abcd":
        tally.observe("task.submitted", {"identity": task}, 0.0)
    assert tally.seconds_to_go(100.0, 40.0) == 160.0
    for task in "abcd":
        tally.observe("task.done", {"identity": task}, 100.0)
    assert tally.seconds_to_go(100.0, 100.0) == 100.0


def test_a_service_that_takes_fewer_tasks_at_once_makes_it_longer() -> None:
    tally = Tally(total=4, at_once=4)
    tally.observe("task.submitted", {"identity": "a"}, 0.0)
    tally.observe("task.done", {"identity": "a"}, 100.0)
    assert tally.seconds_to_go(100.0, 100.0) == 300.0


def test_a_task_that_takes_longer_than_usual_tells_nothing() -> None:
    tally = Tally(total=1, at_once=4)
    tally.observe("task.submitted", {"identity": "a"}, 0.0)
    assert tally.seconds_to_go(100.0, 300.0) is None
