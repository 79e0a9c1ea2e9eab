"""What a scheduled run needs: several jobs, a deadline, a monitor, a line for programs, a warning in time."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.__main__ import main
from runner.cli.closing import endings
from runner.cli.closing.monitor import VARIABLE
from runner.desk.report import Report
from runner.errors import ExitCode
from runner.record.manifest import read_manifest
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.monitor_server import MonitorServer

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
request: {{resolution: 480p, duration: 4}}
content: [{{type: text, text: {text}}}]
output: out/{text}-s${{{{ seed }}}}.mp4
run: {{settle: 0s, poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
"""


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
    monkeypatch.setenv("MESHAPI_API_KEY", SANDBOX_KEY)
    assert main(["-q", "init"]) == 0
    for name in ("boat", "harbour"):
        (tmp_path / f"{name}.yaml").write_text(JOB.format(text=name))
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_several_jobs_run_side_by_side_and_each_tells_its_end_in_a_line(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "boat.yaml", "harbour.yaml", "--output-format", "jsonl"]) == 0
    boat, harbour = lines(capsys)
    assert (boat["job"], harbour["job"]) == ("boat.yaml", "harbour.yaml")
    assert (boat["exit_code"], boat["counts"], boat["submitted"]) == (0, {"done": 2}, 2)
    assert Path(boat["manifest"]).is_file()
    assert boat["run"] != harbour["run"]
    assert server.accepted == 4


def test_pages_are_made_behind_all_jobs_and_behind_what_a_monitor_is_told(
    project: Path, monitor: MonitorServer, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures take seconds, in which the next job would not submit."""
    seen: list[tuple[int, int]] = []
    make_report = endings.make_report

    def make(*arguments: Any, **options: Any) -> Report:
        seen.append((server.accepted, len(monitor.heard)))
        return make_report(*arguments, **options)

    monkeypatch.setattr(endings, "make_report", make)
    monkeypatch.setenv(VARIABLE, monitor.url)
    assert main(["run", "boat.yaml", "harbour.yaml", "--ping"]) == 0
    assert seen == [(4, 2), (4, 2)]


@pytest.mark.fault(47)
@pytest.mark.parametrize(("fault", "code"), [(None, 0), (402, ExitCode.OUT_OF_MONEY)])
def test_an_interrupt_while_pictures_are_made_leaves_exit_code_and_manifest(
    fault: int | None,
    code: int,
    project: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if fault is not None:
        server.faults.add(
            Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=fault, code="insufficient_credits", times=None)
        )

    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("runner.desk.report.posters", interrupted)
    assert main(["run", "boat.yaml", "harbour.yaml"]) == code
    assert capsys.readouterr().err.count("no contact sheet: interrupted") == 1
    assert read_manifest(project / "rehearsal/runs/latest/manifest.json").run.id


def test_all_jobs_are_valid_before_the_first_one_runs(project: Path, server: SandboxServer) -> None:
    (project / "harbour.yaml").write_text("version: 2\n")
    assert main(["run", "boat.yaml", "harbour.yaml"]) == ExitCode.JOB_INVALID
    assert server.accepted == 0


def test_what_goes_wrong_with_one_job_keeps_no_other_from_its_turn(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    unpriced = JOB.format(text="boat").replace("byteplus/seedance-1-0-pro", "byteplus/seedance-9")
    (project / "boat.yaml").write_text(unpriced + "budget: {max_usd: 1}\n")
    assert main(["run", "boat.yaml", "harbour.yaml", "--output-format", "jsonl"]) == ExitCode.REFUSED
    boat, harbour = lines(capsys)
    assert (boat["exit_code"], harbour["exit_code"]) == (3, 0)
    assert "price" in boat["error"]
    assert server.accepted == 2


def test_a_deadline_holds_for_all_jobs_together(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.DELAY, seconds=30, times=None))
    command = ["run", "boat.yaml", "harbour.yaml", "--output-format", "jsonl"]
    assert main([*command, "--deadline", "2s"]) == ExitCode.TRY_AGAIN
    boat, harbour = lines(capsys)
    for told in (boat, harbour):
        assert (told["exit_code"], told["counts"]) == (75, {"submitted": 2})
        assert "deadline" in told["reasons"][0]
    server.faults.clear()
    assert main(command) == 0
    assert server.accepted == 4


def test_again_is_about_one_job(project: Path) -> None:
    assert main(["run", "boat.yaml", "harbour.yaml", "--again", "*"]) == ExitCode.USAGE


def test_a_monitor_is_told_of_the_start_and_of_the_end_of_all_jobs(
    project: Path,
    server: SandboxServer,
    monitor: MonitorServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, monitor.url)
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, times=None, code="insufficient")
    )
    assert main(["run", "boat.yaml", "harbour.yaml", "--ping"]) == ExitCode.OUT_OF_MONEY
    (start, _), (end, body) = monitor.heard
    assert start.endswith("/start")
    assert end.endswith("/4")
    assert [json.loads(line)["exit_code"] for line in body.splitlines()] == [4, 4]
    told = capsys.readouterr()
    assert monitor.url not in told.out + told.err
    assert monitor.url not in (project / "rehearsal/runs/latest/manifest.json").read_text()


def test_without_its_address_a_monitor_cannot_be_told(project: Path, server: SandboxServer) -> None:
    assert main(["run", "boat.yaml", "--ping"]) == ExitCode.USAGE
    assert server.accepted == 0


@pytest.mark.parametrize(("hours", "is_told"), [(17, False), (19, True)])
@pytest.mark.parametrize("verb", [["run", "boat.yaml"], ["collect"]])
def test_a_paid_result_near_the_end_of_its_url_is_told(
    verb: list[str],
    hours: int,
    is_told: bool,
    project: Path,
    server: SandboxServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=503, times=None))
    with deadline_once(lambda: server.accepted == 2):
        assert main(["run", "boat.yaml", "--deadline", "60s"]) == ExitCode.TRY_AGAIN
    database = sqlite3.connect(project / "rehearsal/.callsheet/ledger.db")
    database.execute("UPDATE attempts SET accepted_at = accepted_at - ?", (hours * 3600,))
    database.commit()
    database.close()
    capsys.readouterr()
    assert main([*verb, "--deadline", "500ms"]) == ExitCode.TRY_AGAIN
    assert ("2 paid results may be out of reach from" in capsys.readouterr().err) is is_told
