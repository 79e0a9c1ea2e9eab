"""How long generations of a kind took, as polling asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.verdicts import Evidence
from runner.ledger.caps import Caps
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, Kind, RunRow
from runner.ledger.states import Reason
from runner.plan.task import Task
from runner.providers.base import CLOCKS_DIFFER, Generation, GenerationStatus, generation_seconds

RUN = RunRow("run", "a.yaml", "a", "d" * 64, "", "2026-11-21+00:00", "mesh", "https://api.test", 1000.0)
SENT = Evidence(row=0, headers_begun=True, reason="accepted", status=200)
REQUEST = {"model": "m", "resolution": "720p", "duration": 5}
KNOWN = 120.0
"""Seconds from the intent to the end, by our own clock."""
KIND = Kind(RUN.origin, "m", "720p", "5")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    opened = Ledger(open_for_writing(None))
    with opened.transaction():
        opened.begin_run(RUN)
    yield opened
    opened.close()


def task_of(number: int, request: dict[str, object], origin: str = RUN.origin) -> Task:
    return Task(
        identity=f"{number:064x}",
        index=number,
        step="",
        name=f"s{number}",
        cell={},
        provider="mesh",
        account="mesh",
        origin=origin,
        edition="",
        model=str(request["model"]),
        seed=None,
        sample=None,
        request=request,  # type: ignore[arg-type]
        inputs=(),
        output=f"out/s{number}.mp4",
    )


def made(ledger: Ledger, number: int, request: dict[str, object], took: float | None) -> None:
    """One generation; `took` None: it is still under way."""
    task = task_of(number, request)
    with ledger.transaction():
        attempt = ledger.intend(
            task,
            RUN.job_file,
            RUN.id,
            Intent(f"a{number}", Reason.RUN, "mesh", "key", None, "b" * 64, 999.0),
            Caps(),
            1.0,
        )
        ledger.accept(attempt, f"t-{number}", SENT, 2.0)
        seen = Generation(f"t-{number}", GenerationStatus.RUNNING, "running", created_at=5000.0)
        ledger.observe(attempt, seen, 3.0)
        if took is not None:
            ended = replace(
                seen, status=GenerationStatus.SUCCEEDED, raw_status="succeeded", updated_at=5000.0 + took
            )
            ledger.observe(attempt, ended, 4.0)
            ledger.collect(attempt, 4.0)
            ledger.finish(attempt, [], 1.0 + KNOWN)


def test_the_newest_of_the_same_kind_come_first(ledger: Ledger) -> None:
    for number, took in enumerate([90.0, 100.0, 110.0]):
        made(ledger, number, REQUEST, took)
    assert ledger.read.durations(KIND, 200) == [110.0, 100.0, 90.0]
    assert ledger.read.durations(KIND, 2) == [110.0, 100.0]


def test_another_model_resolution_or_length_says_nothing(ledger: Ledger) -> None:
    others = ({"model": "n"}, {"resolution": "480p"}, {"duration": 10}, {"duration": None})
    for number, change in enumerate(others):
        made(ledger, number, {**REQUEST, **change}, 90.0)
    assert ledger.read.durations(KIND, 200) == []
    assert ledger.read.durations(Kind(RUN.origin, "m", "720p", ""), 200) == [90.0]


def test_what_is_under_way_or_took_no_time_says_nothing(ledger: Ledger) -> None:
    made(ledger, 1, REQUEST, None)
    made(ledger, 2, REQUEST, 0.0)
    assert ledger.read.durations(KIND, 200) == []


@pytest.mark.parametrize("took", [3600.0, 1.7e9, -30.0, KNOWN + CLOCKS_DIFFER + 1.0])
def test_a_time_that_cannot_be_says_nothing(ledger: Ledger, took: float) -> None:
    """A creation in 1970, or in another time zone: the service took longer than we knew of the task."""
    made(ledger, 1, REQUEST, 90.0)
    made(ledger, 2, REQUEST, took)
    assert ledger.read.durations(KIND, 200) == [90.0]


@given(
    st.none() | st.floats() | st.text(max_size=3), st.none() | st.floats() | st.booleans(), st.floats(0, 1e9)
)
def test_whatever_the_service_says_a_generation_takes_no_longer_than_we_knew_of_it(
    began: object, ended: object, known: float
) -> None:
    seconds = generation_seconds(began, ended, known=known)
    assert seconds is None or 0 < seconds <= known + CLOCKS_DIFFER


def test_a_kind_is_that_of_its_request() -> None:
    assert Kind.of(RUN.origin, REQUEST) == KIND
    assert Kind.of(RUN.origin, {"model": "m"}) == Kind(RUN.origin, "m", "", "")
