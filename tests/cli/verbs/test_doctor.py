"""`callsheet doctor`: what a run needs, looked at one thing after the other."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from runner.cli.verbs import doctor
from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.desk import Desk


def _findings(desk: Desk) -> dict[str, Any]:
    desk.call("doctor", "--output-format", "json")
    return {row["what"]: row for row in json.loads(desk.out)["findings"]}


def test_a_project_that_can_run_exits_0_and_costs_nothing(desk: Desk, server: SandboxServer) -> None:
    assert desk.call("doctor") == ExitCode.DONE, desk.out
    assert {line.split()[0] for line in desk.out.splitlines()} == {"ok"}
    assert "takes the key of MESHAPI_API_KEY" in desk.out
    assert server.accepted == 0


def test_nothing_that_is_printed_holds_the_key_or_the_home(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(desk.root.parent))
    desk.call("doctor")
    assert SANDBOX_KEY not in desk.out
    assert str(desk.root.parent) not in desk.out
    assert "~/" in desk.out


def test_no_key_is_a_finding_and_no_traceback(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert desk.call("doctor") == ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY and MESHAPI_TOKEN not set" in desk.out


@pytest.mark.parametrize(("status", "code"), [(401, ExitCode.KEY_REFUSED), (500, ExitCode.UNREACHABLE)])
def test_what_the_service_says_becomes_the_exit_code(
    desk: Desk, server: SandboxServer, status: int, code: ExitCode
) -> None:
    for where in (Where.LIST, Where.GET):
        server.faults.add(Fault(where=where, kind=Kind.ANSWER, status=status, times=None))
    assert desk.call("doctor") == code


def test_a_service_that_is_not_there_exits_69(desk: Desk) -> None:
    assert desk.call("doctor", "--base-url", "http://127.0.0.1:9") == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("a lost ledger", ExitCode.CANNOT_WRITE),
        ("a link for the ledger", ExitCode.NO_PROJECT),
        ("a link for the lock", ExitCode.NO_PROJECT),
        ("a file for runs", ExitCode.CANNOT_WRITE),
        ("a directory for latest", ExitCode.CANNOT_WRITE),
        ("a log that is a directory", ExitCode.CANNOT_WRITE),
    ],
)
def test_what_run_refuses_doctor_does_not_call_ok(trouble: str, code: ExitCode, desk: Desk) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    base = desk.root / "rehearsal"
    state, runs = base / ".callsheet", base / "runs"
    match trouble:
        case "a lost ledger":
            (state / "ledger.db").unlink()
        case "a link for the ledger":
            (state / "ledger.db").rename(desk.root / "elsewhere.db")
            (state / "ledger.db").symlink_to(desk.root / "elsewhere.db")
        case "a link for the lock":
            (state / "lock").unlink()
            (state / "lock").symlink_to(desk.root / "elsewhere")
        case "a file for runs":
            runs.rename(base / "elsewhere")
            runs.write_text("mine")
        case "a directory for latest":
            (runs / "latest").unlink()
            (runs / "latest").mkdir()
        case "a log that is a directory":
            log = (runs / (runs / "latest").readlink()) / "events.jsonl"
            log.unlink()
            log.mkdir()
    assert desk.call("doctor") == code, desk.out
    assert "nothing was sent" not in desk.out
    assert desk.call("run", "boat.yaml") == code, desk.err


def test_no_project_exits_73_and_the_versions_are_told_still(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert desk.call("doctor") == ExitCode.NO_PROJECT
    assert "callsheet init" in desk.out
    assert "on Python" in desk.out


def test_a_corrupt_ledger_exits_74(desk: Desk) -> None:
    desk.call("run", "boat.yaml")
    ledger = desk.root / "rehearsal/.callsheet/ledger.db"
    for companion in ledger.parent.glob("ledger.db-*"):
        companion.unlink()
    data = bytearray(ledger.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    ledger.write_bytes(data)
    assert desk.call("doctor") == ExitCode.CANNOT_WRITE
    assert _findings(desk)["ledger"]["level"] == "wrong"


def test_a_clock_that_is_off_is_a_warning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3600)
    assert desk.call("doctor") == ExitCode.DONE
    clock = _findings(desk)["clock"]
    # the answer's Date has whole seconds, and the machine takes some to read it
    assert -3610 < int(clock["words"].split(" s to ")[0]) < -3590
    assert clock["level"] == "warning"


def test_a_clock_that_is_off_by_a_day_says_which_jobs_run_refuses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3 * 86_400)
    clock = _findings(desk)["clock"]
    assert clock["level"] == "warning"
    assert "`run` refuses jobs that use `run.date`" in clock["words"]


def test_a_missing_extra_is_a_warning_with_the_command(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_EXTRAS", {"media": (("no-such-library",), "no thumbnails")})
    assert desk.call("doctor") == ExitCode.DONE
    assert "not installed: no thumbnails; hint: pip install 'callsheet[media]'" in desk.out


def test_a_rehearsal_needs_neither_key_nor_network_and_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert desk.call("doctor", "--sandbox") == ExitCode.DONE, desk.out
    assert not (desk.root / "rehearsal").exists()
    assert isinstance(desk.root, Path)
