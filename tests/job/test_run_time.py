"""`date(...)` and `run.time`: the same text on every platform, in every zone that resumes the run."""

from __future__ import annotations

import datetime
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.expressions.rundate import DATE_CODES, RunDate, RunTime, formatted
from tests.support.job_bench import HEAD, TEXT, JobBench

WALL = 1_795_249_800.0
"""2026-11-21T08:30:00Z"""


@given(st.dates(), st.sampled_from([code for code in DATE_CODES if code not in ("%H", "%M", "%S")]))
def test_each_code_of_a_day_is_what_strftime_gives_in_the_c_locale(day: datetime.date, code: str) -> None:
    theirs = day.strftime(code)
    if code in ("%Y", "%G"):
        theirs = theirs.zfill(4)  # which some platforms do, and others do not
    assert formatted(RunDate(day, datetime.timedelta()), code) == theirs


@given(st.datetimes(timezones=st.just(datetime.UTC)), st.sampled_from(["%H", "%M", "%S"]))
def test_each_code_of_a_time_is_what_strftime_gives(moment: datetime.datetime, code: str) -> None:
    assert formatted(RunTime(moment), code) == moment.strftime(code)


@pytest.mark.parametrize(
    ("day", "pattern", "expected"),
    [
        ("2026-11-21", "%G-W%V", "2026-W47"),
        ("2027-01-01", "%G-W%V-%u", "2026-W53-5"),
        ("2026-11-21", "%A, %d %B %Y", "Saturday, 21 November 2026"),
        ("2026-03-02", "%a %b %y, day %j, 100%%", "Mon Mar 26, day 061, 100%"),
        ("2026-03-02", "no code", "no code"),
    ],
)
def test_a_pattern_is_filled_in(day: str, pattern: str, expected: str) -> None:
    assert formatted(RunDate.parse(f"{day}+00:00"), pattern) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ run.date | date('%-d') }}", "`%-` is not a code of `date`; hint: codes: %Y %y %m"),
        ("${{ run.date | date('%') }}", "`%` is not a code of `date`"),
        (
            "${{ run.date | date('%H') }}",
            "`%H` is a time of day, and this is a day; hint: `run.time` has both",
        ),
        (
            "${{ 'soon' | date('%Y') }}",
            "`date`: `soon` is not a date; hint: 2026-11-21, `run.date` or `run.time`",
        ),
        ("${{ run.date | date(7) }}", "`date` takes its pattern as text"),
        ("${{ run.time.hour }}", "`run.time` is one value and has no parts"),
    ],
)
def test_a_wrong_pattern_is_told(jobs: JobBench, text: str, expected: str) -> None:
    (problem,) = jobs.problems(HEAD + TEXT + f'edition: "{text}"\n')
    assert expected in problem


def test_a_text_of_a_table_may_be_a_date(jobs: JobBench) -> None:
    text = HEAD + "vars: {launch: 2026-12-24}\nedition: ${{ vars.launch | date('%d.%m.') }}\n" + TEXT
    assert jobs.plan(text).edition == "24.12."


def test_an_absent_value_is_told_and_not_taken_for_a_list(jobs: JobBench) -> None:
    text = (
        HEAD
        + "matrix: {shot: [{id: a}, {day: 2026-11-21}]}\n"
        + TEXT.replace("A teapot", "\"${{ shot.day | date('%d') }}\"")
    )
    (problem,) = jobs.problems(text)
    assert "a filter has no value to work on in this cell (in cell a); hint: put `| default(...)`" in problem


@pytest.mark.parametrize(
    ("zone", "text"),
    [("Europe/Berlin", "2026-11-21+01:00"), ("America/New_York", "2026-11-21-05:00"), (None, None)],
)
def test_the_day_of_a_run_is_that_of_the_zone_that_is_given(zone: str | None, text: str | None) -> None:
    found = RunDate.today(WALL, ZoneInfo(zone) if zone else None)
    local = datetime.datetime.fromtimestamp(WALL).astimezone()
    assert found.format() == (
        text or RunDate(local.date(), local.utcoffset() or datetime.timedelta()).format()
    )
    summer = RunDate.parse("2026-07-01", ZoneInfo("Europe/Berlin"))
    assert summer.format() == "2026-07-01+02:00"


def test_the_time_of_a_run_is_shown_by_the_offset_of_its_date() -> None:
    assert str(RunTime.of(WALL + 0.9, RunDate.parse("2026-11-21+01:00"))) == "2026-11-21T09:30:00+01:00"
    assert (
        formatted(RunTime.of(WALL, RunDate.parse("2026-11-21+05:30")), "%Y%m%d-%H%M%S") == "20261121-140000"
    )


def test_an_expression_says_whether_it_reads_the_time(jobs: JobBench) -> None:
    for edition, uses_time in (
        ("run.time", True),
        ("run['time']", True),
        ("run.date", False),
        ("job.name", False),
    ):
        job = jobs.load(HEAD + TEXT + f'edition: "${{{{ {edition} | string }}}}"\n')
        assert job.uses_time is uses_time, edition
        assert job.uses_date is edition.startswith("run"), edition


def test_a_plan_without_a_time_is_of_now(jobs: JobBench) -> None:
    before = time.time()
    plan = jobs.plan(HEAD + TEXT + "output: out/${{ run.time | date('%H%M%S') }}.mp4\n")
    assert before <= plan.began <= time.time()
