"""`callsheet spend`, and what `run` asks before it spends."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.http.verdicts import Evidence
from runner.ledger.caps import Caps
from runner.ledger.rows import Intent
from runner.ledger.states import Reason
from runner.money import Price, PriceUnit
from runner.project import find_project
from runner.run.lock import locked_ledger
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.ledger_rows import RUN, SENT, task

JOB = """\
version: 1
models: [{model}]
samples: 2
request: {{resolution: 720p, ratio: 16:9, duration: 5}}
content: [{{type: text, text: A teapot}}]
"""
PRICED = "dreamina-seedance-2-0-260128"
UNPRICED = "byteplus/seedance-1-0-pro"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert main(["-q", "init", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHAPI_BASE_URL", raising=False)
    monkeypatch.setenv("MESHAPI_API_KEY", SANDBOX_KEY)
    return tmp_path


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def write_job(root: Path, model: str, *lines: str) -> str:
    (root / "jobs" / "a.yaml").write_text(JOB.format(model=model) + "".join(f"{line}\n" for line in lines))
    return "jobs/a.yaml"


def nothing_was_sent(root: Path) -> bool:
    return not (root / "rehearsal" / "runs").exists()


def spend_some(root: Path) -> None:
    """A ledger with one task in flight, one of unknown price, and one in doubt."""
    project = find_project(root / "jobs", root=root)
    with locked_ledger(project, wait=0) as ledger, ledger.transaction():
        ledger.begin_run(RUN)
        for number in (1, 2, 3):
            price = Price(PriceUnit.TASK, Decimal("0.5")) if number != 2 else None
            intent = Intent(
                f"attempt-{number}",
                Reason.RUN,
                "mesh",
                "key",
                number,
                "b" * 64,
                999.0,
                500_000 if price else None,
                price,
            )
            attempt = ledger.intend(task(number), RUN.job_file, RUN.id, intent, Caps(), number * 86_400.0)
            if number == 3:
                ledger.leave_unclear(attempt, Evidence(row=8, headers_begun=True, reason="cut"), 3.0)
            else:
                ledger.accept(attempt, f"t-{number}", SENT, 2.0)


@pytest.fixture
def spent(root: Path) -> Path:
    spend_some(root)
    return root


def test_a_project_that_has_run_nothing_has_spent_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spend"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["total", "-", "-", "-"]


def test_in_flight_and_possibly_billed_are_told_and_unknown_prices_counted(
    spent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spend", "--by", "job"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["job", "settled", "in", "flight", "possibly", "billed"]
    words = "USD 0.50 (1 task) and 1 task of unknown price"
    assert [line.split(words)[0].split() for line in lines[1:]] == [["jobs/a.yaml", "-"], ["total", "-"]]
    assert all(line.endswith("USD 0.50 (1 task)") for line in lines[1:])


def test_json_since_a_day(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", "--since", "1970-01-03", "--by", "day", "--output-format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["day"] for row in told["rows"]] == ["1970-01-03", "1970-01-04"]
    assert told["total"] == {
        "settled": {"tasks": 0, "usd": "0.00", "unpriced_tasks": 0},
        "in_flight": {"tasks": 1, "usd": None, "unpriced_tasks": 1},
        "possibly_billed": {"tasks": 1, "usd": "0.50", "unpriced_tasks": 0},
    }


def test_a_date_that_is_none_is_a_wrong_option(root: Path) -> None:
    assert main(["spend", "--since", "yesterday"]) == ExitCode.USAGE


def test_days_in_the_wrong_order_are_a_wrong_option_that_says_the_right_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spend", "--since", "2026-11-30", "--until", "2026-11-01"]) == ExitCode.USAGE
    assert "--since 2026-11-01 --until 2026-11-30" in capsys.readouterr().err


def test_plan_tells_the_estimate_in_text_and_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_job(root, PRICED)
    assert main(["plan", job]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "estimate of what is new: 217,800 tokens, about USD 1.52"
    )
    assert main(["plan", job, "--output-format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["estimate"] for entry in told["tasks"]] == [{"tokens": 108_900, "usd": "0.7623"}] * 2
    assert told["estimate"]["tokens"] == 217_800


def test_plan_says_what_it_does_not_know(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", write_job(root, UNPRICED)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "estimate of what is new: 207,636 tokens; price of 2 tasks not known"
    )


def test_a_cap_in_dollars_without_a_price_is_refused_with_the_three_forms(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root, UNPRICED, "budget: {max_usd: 5}")
    assert main(["run", job, "--sandbox"]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert "the price of 2 of 2 new tasks is not known" in said
    assert all(f"price: {{{unit}: N}}" in said for unit in PriceUnit)
    assert nothing_was_sent(root)


def test_above_the_confirmation_a_run_without_a_terminal_refuses(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root, PRICED, "budget: {confirm_usd: 1.5}")
    assert main(["run", job, "--sandbox"]) == ExitCode.REFUSED
    assert "2 new tasks for about USD 1.5246; budget.confirm_usd is 1.50" in capsys.readouterr().err
    assert nothing_was_sent(root)


@pytest.mark.parametrize("flag", ["--again", "--only", ""])
def test_an_unknown_price_is_above_every_confirmation(
    root: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root, UNPRICED, "budget: {confirm_usd: 1000}")
    assert main(["plan", job]) == 0
    said = "`run` asks first: the price of 2 of 2 new tasks is not known (budget.confirm_usd); --yes agrees"
    assert said in capsys.readouterr().out
    assert main(["run", job, "--sandbox", *([flag, "*"] if flag else [])]) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "2 new tasks of unknown price; budget.confirm_usd is 1000.00" in told
    assert "hint: give --yes" in told
    assert nothing_was_sent(root)


@pytest.mark.parametrize(
    ("price", "said"),
    [(UNPRICED, "1 new task of unknown price"), (PRICED, "1 new task for about USD 0.7623")],
)
def test_one_task_is_asked_about_as_one(
    root: Path, price: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root, price, "budget: {confirm_usd: 0.5}")
    (root / job).write_text((root / job).read_text().replace("samples: 2", "samples: 1"))
    assert main(["run", job, "--sandbox"]) == ExitCode.REFUSED
    assert f"{said}; budget.confirm_usd is 0.50" in capsys.readouterr().err


@pytest.mark.parametrize("again", [["retry"], ["run", "jobs/a.yaml", "--again", "*"]])
def test_what_is_bought_once_more_is_asked_about_too(
    root: Path, again: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as server:
        server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", times=None))
        service = ["--base-url", server.url]
        job = write_job(
            root, UNPRICED, "budget: {confirm_usd: 1000}", "run: {poll: {first: 20ms, min: 20ms}}"
        )
        assert main(["run", job, "--yes", *service]) == ExitCode.TASK_FAILED
        capsys.readouterr()
        assert main([*again, *service]) == ExitCode.REFUSED
        assert "2 new tasks of unknown price; budget.confirm_usd is 1000.00" in capsys.readouterr().err
        assert server.accepted == 2
        assert main([*again, "--yes", *service]) == ExitCode.TASK_FAILED
        assert server.accepted == 4


def test_a_refusal_at_the_cap_does_not_contradict_itself(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root, UNPRICED, "price: {usd_per_task: 0.004}", "budget: {max_usd: 0.007}")
    assert main(["run", job, "--sandbox"]) == ExitCode.REFUSED
    said = "budget.max_usd is 0.007: 0.004 spent or in flight, the next task is about 0.004; hint: raise"
    assert said in capsys.readouterr().err
    assert main(["plan", job, "--sandbox"]) == 0
    assert (
        "`run` stops before it exceeds USD 0.007, USD 0.004 of it spent or in flight (budget.max_usd)"
        in capsys.readouterr().out
    )
    assert main(["spend", "--sandbox"]) == 0
    assert "USD 0.004 (1 task)" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["n\n", "y\n"])
def test_a_terminal_asks(
    root: Path, answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cap of no task at all ends the run after a yes, without a submit."""
    job = write_job(root, PRICED, "budget: {confirm_usd: 1, max_tasks: 0}")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("runner.cli.console.is_terminal", lambda: True)
    assert main(["run", job, "--sandbox"]) == ExitCode.REFUSED
    captured = capsys.readouterr()
    assert "Go on?" in captured.err
    assert nothing_was_sent(root) is (answer == "n\n")
    assert ("not agreed to" in captured.err) is (answer == "n\n")


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", ["1970-01-02", "1970-01-03", "1970-01-04"]),
        ("Pacific/Pago_Pago", ["1970-01-01", "1970-01-02", "1970-01-03"]),
    ],
)
def test_days_are_those_of_the_projects_time_zone(
    root: Path, capsys: pytest.CaptureFixture[str], zone: str, days: list[str]
) -> None:
    with (root / "callsheet.yaml").open("a") as file:
        file.write(f"timezone: {zone}\n")
    spend_some(root)
    assert main(["spend", "--by", "day", "--output-format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["day"] for row in rows] == days
    assert main(["spend", "--by", "day", "--since", days[1], "--output-format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["day"] for row in rows] == days[1:]
