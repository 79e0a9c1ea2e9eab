"""`budget`, `spend` by account, label and month, and what `plan` says of budgets too small for it."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.ledger.caps import Caps
from runner.project import find_project
from runner.run.lock import locked_ledger
from tests.support.ledger_rows import CUT, RUN, SENT, intent, task

SETTINGS = """\
timezone: UTC
accounts:
  acme: {provider: mesh, api_key_env: ACME_KEY, labels: {client: Acme, film: boat}}
budgets:
  - {month: {max_usd: 9, max_tasks: 5}}
  - {where: {account: acme}, day: {max_usd: 2}}
  - {where: {label.client: Acme}, day: {max_tasks: 3}}
"""
NOW = 1_795_737_600.0
"""2026-11-27 at 00:00 UTC."""
LABELS = {"client": "Acme", "film": "boat"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == ExitCode.DONE
    with (tmp_path / "callsheet.yaml").open("a") as file:
        file.write(SETTINGS)
    monkeypatch.setattr(time, "time", lambda: NOW + 3600)
    return tmp_path


@pytest.fixture
def spent(root: Path) -> Path:
    """Yesterday one of the provider's own account; today two of acme's, one done for 0.70."""
    project = find_project(root)
    with locked_ledger(project, wait=0) as ledger, ledger.transaction():
        ledger.begin_run(RUN)
        made = [intent(number, estimate=500_000) for number in (1, 2, 3)]
        made[1:] = [replace(each, account="acme", labels=LABELS) for each in made[1:]]
        for number, (said, at) in enumerate(zip(made, (NOW - 1, NOW, NOW + 60), strict=True), 1):
            attempt = ledger.intend(task(number), RUN.job_file, RUN.id, said, Caps(), at)
            if number == 1:
                ledger.leave_unclear(attempt, CUT, at)
            else:
                ledger.accept(attempt, f"t-{number}", SENT, at)
        ledger.collect(attempt, NOW + 90)
        ledger.settle_cost(attempt, 700_000)
        ledger.finish(attempt, (), NOW + 99)
    return root


def told(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The cells of the table."""
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_each_limit_with_what_is_left_and_when_it_renews(
    spent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budget"]) == 0
    assert told(capsys) == [
        ["budget", "limit", "spent", "in flight", "left", "renews at"],
        ["the project, 2026-11", "USD 9.00", "USD 0.70", "USD 1.00", "USD 7.30", "2026-12-01 00:00 UTC"],
        ["the project, 2026-11", "5 tasks", "1 task", "2 tasks", "2 tasks", "2026-12-01 00:00 UTC"],
        ["account acme, 2026-11-27", "USD 2.00", "USD 0.70", "USD 0.50", "USD 0.80", "2026-11-28 00:00 UTC"],
        ["label.client Acme, 2026-11-27", "3 tasks", "1 task", "1 task", "1 task", "2026-11-28 00:00 UTC"],
    ]


def test_for_programs_each_limit_has_its_place_and_amounts(
    spent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budget", "--output-format", "json"]) == 0
    third = json.loads(capsys.readouterr().out)["budgets"][2]
    assert third == {
        "cap": "budgets[1].day.max_usd",
        "where": {"account": "acme"},
        "window": "day",
        "span": "2026-11-27",
        "max_usd": "2.00",
        "spent_usd": "0.70",
        "in_flight_usd": "0.50",
        "left_usd": "0.80",
        "unpriced_tasks": 0,
        "renews_at": "2026-11-28T00:00:00+00:00",
    }


def test_before_anything_ran_all_is_left(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget"]) == 0
    assert [row[4] for row in told(capsys)[1:]] == ["USD 9.00", "5 tasks", "USD 2.00", "3 tasks"]


def test_a_project_without_budgets_is_told_how_to_write_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "callsheet.yaml").write_text("version: 1\n")
    assert main(["budget"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, "has no budgets; hint: add `budgets: [{day: {max_usd: 50}}]`" in captured.err) == (
        "",
        True,
    )


def test_a_project_file_with_a_mistake_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "callsheet.yaml").write_text("version: 1\nbudgets: [{week: {max_usd: 1}}]\n")
    assert main(["budget"]) == ExitCode.JOB_INVALID
    assert "unknown key `week`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("account", [["acme", "0.70"], ["mesh", "-"]]),
        ("month", [["2026-11", "0.70"]]),
        ("day", [["2026-11-26", "-"], ["2026-11-27", "0.70"]]),
        ("label", [["(none)", "-"], ["client Acme", "0.70"], ["film boat", "0.70"]]),
        ("label.client", [["(none)", "-"], ["Acme", "0.70"]]),
        ("label.other", [["(none)", "0.70"]]),
    ],
)
def test_spending_by_who_and_when(
    spent: Path, capsys: pytest.CaptureFixture[str], by: str, groups: list[list[str]]
) -> None:
    assert main(["spend", "--by", by]) == 0
    rows = told(capsys)
    assert rows[0][0] == by
    settled = [[row[0], row[1].removeprefix("USD ").partition(" ")[0]] for row in rows[1:-1]]
    assert settled == groups
    assert rows[-1][:2] == ["total", "USD 0.70 (1 task)"]


def test_spending_from_one_day_to_another_that_counts_too(
    spent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for since, until, days in (
        ("2026-11-26", "2026-11-26", ["2026-11-26"]),
        ("2026-11-26", "2026-11-27", ["2026-11-26", "2026-11-27"]),
        ("2026-11-28", "2026-11-30", []),
    ):
        words = ["--since", since, "--until", until, "--output-format", "json"]
        assert main(["spend", "--by", "day", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [row["day"] for row in found["rows"]] == days
        tasks = [part["tasks"] for part in found["total"].values()]
        assert sum(tasks) == {0: 0, 1: 1, 2: 3}[len(days)]


def test_spending_as_csv(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", "--by", "account", "--output-format", "csv"]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [(row["account"], row["settled_usd"], row["in_flight_tasks"]) for row in rows] == [
        ("acme", "0.70", "1"),
        ("mesh", "0.00", "0"),
    ]
    assert main(["spend", "--output-format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["settled_usd"], row["possibly_billed_usd"]) == ("0.70", "0.50")


@pytest.mark.parametrize(
    ("by", "hint"),
    [("acount", "did you mean `account`?"), ("label.a b", "`label.NAME`"), ("label.", "label")],
)
def test_a_group_that_is_none_is_a_wrong_option(
    root: Path, capsys: pytest.CaptureFixture[str], by: str, hint: str
) -> None:
    assert main(["spend", "--by", by]) == ExitCode.USAGE
    assert hint in capsys.readouterr().err


JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..4
content: [{type: text, text: A teapot}]
request: {resolution: 480p, ratio: 16:9, duration: 5}
"""


@pytest.mark.parametrize(
    ("budget", "price", "said"),
    [
        ("{day: {max_usd: 4}}", "price: {usd_per_task: 1}", ""),
        (
            "{day: {max_usd: 3}}",
            "price: {usd_per_task: 1}",
            "`run` stops before it exceeds USD 3.00 for the project on 2026-11-27; it renews at"
            " 2026-11-28 00:00 UTC (budgets[0].day.max_usd)",
        ),
        (
            "{where: {account: mesh}, month: {max_tasks: 3}}",
            "",
            "`run` stops after 3 of 4 new tasks for account mesh in 2026-11; it renews at"
            " 2026-12-01 00:00 UTC (budgets[0].month.max_tasks)",
        ),
        (
            "{day: {max_usd: 9}}",
            "",
            "`run` cannot submit all for the project on 2026-11-27: the price of 4 of 4 new tasks is not"
            " known (budgets[0].day.max_usd)",
        ),
        ("{where: {account: getimg}, day: {max_tasks: 0}}", "", ""),
    ],
)
def test_plan_tells_when_a_budget_cannot_hold_it(
    root: Path, capsys: pytest.CaptureFixture[str], budget: str, price: str, said: str
) -> None:
    (root / "callsheet.yaml").write_text(f"version: 1\ntimezone: UTC\nbudgets: [{budget}]\n")
    (root / "jobs/boat.yaml").write_text(f"{JOB}{price}\n")
    assert main(["plan", "jobs/boat.yaml"]) == 0
    out = capsys.readouterr().out
    assert (said in out) if said else ("budgets[" not in out)
    assert main(["plan", "jobs/boat.yaml", "--sandbox"]) == 0
    assert "budgets[" not in capsys.readouterr().out
