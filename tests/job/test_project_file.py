"""callsheet.yaml: read like a job file, each problem at its place; and what its values do to a plan."""

from __future__ import annotations

import contextlib
import datetime
import zoneinfo
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ExitCode, JobError
from runner.job.project.load_project import load_project_file
from runner.job.project_file import Notify, NotifyOn, ProjectFile
from runner.money import Price, PriceUnit
from runner.plan.plan import make_plan
from runner.project import PROJECT_FILE
from tests.support.job_bench import HEAD, ORIGIN, TEXT, JobBench

WHOLE = """\
version: 1
project: 7f3a9c12
timezone: Europe/Berlin
prices:
  byteplus/dreamina-seedance-2-0: {usd_per_mtok: 7.0}
  kling/kling-2.6: {usd_per_second: 0.07}
trust_env: true
notify: {on: [failed, held], url_env: NOTIFY_URL}
"""


def read(root: Path, text: str) -> ProjectFile:
    (root / PROJECT_FILE).write_text(text, encoding="utf-8")
    return load_project_file(root)


def problems(root: Path, text: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        read(root, text)
    assert caught.value.exit_code is ExitCode.JOB_INVALID
    assert caught.value.text == text.encode()
    return str(caught.value).splitlines()


def test_each_key_is_read_into_its_type(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert found.project == "7f3a9c12"
    assert found.timezone == zoneinfo.ZoneInfo("Europe/Berlin")
    assert found.trust_env is True
    assert found.notify == Notify(frozenset({NotifyOn.FAILED, NotifyOn.HELD}), url_env="NOTIFY_URL")
    assert found.prices["kling/kling-2.6"] == Price(PriceUnit.SECOND, Decimal("0.07"))


def test_a_project_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    assert load_project_file(tmp_path) == ProjectFile()


def test_a_command_is_told_of_every_end_unless_some_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, "version: 1\nnotify: {command: [notify-send, callsheet]}\n").notify
    assert found == Notify(frozenset(NotifyOn), command=("notify-send", "callsheet"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("project: 7f3a9c12\n", "callsheet.yaml:1:1: `version` is missing; hint: add `version: 1`"),
        ("version: 1\ntime_zone: UTC\n", "callsheet.yaml:2:1: time_zone: unknown key `time_zone`; hint: did"),
        ("version: 1\nrate: 60/min\n", "callsheet.yaml:2:1: rate: unknown key `rate`"),
        (
            "version: 1\ntimezone: Europe/Berln\n",
            "callsheet.yaml:2:11: timezone: `Europe/Berln` is not a time zone;"
            " hint: did you mean `Europe/Berlin`?",
        ),
        ("version: 1\ntimezone: new york\n", "hint: did you mean `America/New_York`?"),
        ("version: 1\ntimezone: ../../etc/passwd\n", "is not a time zone"),
        ("version: 1\ntimezone: Europe\n", "`Europe` is not a time zone"),
        ("version: 1\ntimezone: 2\n", "callsheet.yaml:2:11: timezone: must be text, not `2`"),
        (
            "version: 1\nprices: {byteplus/seedence-1-0-pro: {usd_per_mtok: 7}}\n",
            "callsheet.yaml:2:10: prices.byteplus/seedence-1-0-pro: nothing is known of the model"
            " `byteplus/seedence-1-0-pro`; hint: did you mean `seedance-1-0-pro`?",
        ),
        (
            "version: 1\nprices: {x/y: {usd_per_mtok: 7, usd_per_task: 1}}\n",
            "`usd_per_mtok` and `usd_per_task` are two ways to say what a task costs",
        ),
        ("version: 1\nprices: {x/y: {usd_per_mtok: -7}}\n", "must be at least 0, not `-7`"),
        ("version: 1\nprices: {x/y: 7}\n", "must be keys and values, not `7`"),
        (
            "version: 1\nprices:\n  a/seedance-v1-pro: {usd_per_task: 1}\n"
            "  a/seedance-1-0-pro: {usd_per_task: 2}\n",
            "`a/seedance-1-0-pro` is the same model as `a/seedance-v1-pro`",
        ),
        ("version: 1\nproject: teapot\n", "project: must be 8 digits or letters from a to f"),
        ("version: 1\nnotify: {on: [failed]}\n", "has neither `url_env` nor `command`"),
        ("version: 1\nnotify: {url_env: A, command: [b]}\n", "has `url_env` and `command`"),
        ("version: 1\nnotify: {on: [fail], url_env: A}\n", "hint: did you mean `failed`?"),
        (
            "version: 1\nnotify: {url_env: 'https://hooks.example/secret'}\n",
            "url_env: must be the name of an environment variable, not this text",
        ),
        ("version: 1\nversion: 1\n", "callsheet.yaml:2:1: the key `version` appears twice"),
        ("version: 1\nmodels: [a/b]\n", "this is a job; `callsheet.yaml` is the name of the project file"),
    ],
)
def test_a_mistake_is_told_at_its_place_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    assert told in "\n".join(problems(tmp_path, text))


@given(text=st.text(max_size=200))
def test_any_text_is_a_project_file_or_a_job_error(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / PROJECT_FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(JobError):
        assert isinstance(load_project_file(root), ProjectFile)


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("byteplus/dreamina-seedance-2-0", "7"),
        ("byteplus/dreamina-seedance-2-0-260128", "7"),
        ("other/seedance-2-0", "8"),
        ("byteplus/dreamina-seedance-2-0-fast", None),
        ("kling/kling-2.6", "0.07"),
    ],
)
def test_a_price_is_by_id_then_by_prefix_and_family_then_by_family(model: str, price: str | None) -> None:
    prices = {
        "byteplus/dreamina-seedance-2-0": Price(PriceUnit.MTOK, Decimal(7)),
        "seedance-2-0": Price(PriceUnit.MTOK, Decimal(8)),
        "kling/kling-2.6": Price(PriceUnit.SECOND, Decimal("0.07")),
    }
    found = ProjectFile(prices=prices).price_of(model)
    assert (found and str(found.usd)) == price


def test_the_jobs_price_comes_before_the_projects_and_that_before_the_public_one(tmp_path: Path) -> None:
    bench = JobBench(tmp_path)
    sized = "request: {resolution: 480p, ratio: '16:9', duration: 4}\n"
    head = "version: 1\nmodels: [byteplus/dreamina-seedance-2-0-260128]\n" + TEXT + sized
    [public] = bench.tasks(head)
    read(tmp_path, "version: 1\nprices: {byteplus/seedance-2-0: {usd_per_task: 0.5}}\n")
    [projects] = bench.tasks(head)
    [own] = bench.tasks(head + "price: {usd_per_task: 0.25}\n")
    assert public.price is not None
    assert public.price.unit is PriceUnit.MTOK
    assert (projects.estimate_micros, own.estimate_micros) == (500_000, 250_000)
    assert public.identity == projects.identity == own.identity


@pytest.mark.parametrize(("zone", "day"), [("Pacific/Kiritimati", "22"), ("Pacific/Pago_Pago", "20")])
def test_the_day_of_a_run_is_that_of_the_projects_time_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, day: str
) -> None:
    bench = JobBench(tmp_path)
    read(tmp_path, f"version: 1\ntimezone: {zone}\n")
    noon = datetime.datetime(2026, 11, 21, 10, 30, tzinfo=datetime.UTC).timestamp()
    monkeypatch.setattr("runner.plan.plan.time.time", lambda: noon)
    plan = make_plan(bench.load(HEAD + TEXT + "edition: ${{ run.date }}\n"), origin=ORIGIN)
    assert plan.edition == f"2026-11-{day}"


def test_a_broken_project_file_stops_its_jobs_at_its_own_lines(tmp_path: Path) -> None:
    bench = JobBench(tmp_path)
    (tmp_path / PROJECT_FILE).write_text("version: 1\ntimezone: Nowhere/Land\n")
    with pytest.raises(JobError) as caught:
        bench.load(HEAD + TEXT)
    assert str(caught.value).startswith("callsheet.yaml:2:11: timezone: ")


def test_odd_values_are_told_as_in_a_job_file(tmp_path: Path) -> None:
    told = problems(tmp_path, "version: 1\ntimezone:\nprices:\n  a/b: {usd_per_second: 00.07}\n")
    assert told[0].startswith("callsheet.yaml:2:1: timezone: ")
    assert told[1].endswith("`00.07` is read as the number 0.07; hint: write 0.07")
