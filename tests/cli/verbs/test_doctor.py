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
from tests.support.verb_bench import VerbBench


def _findings(verbs: VerbBench) -> dict[str, Any]:
    verbs.call("doctor", "--output-format", "json")
    return {row["what"]: row for row in json.loads(verbs.out)["findings"]}


def test_a_project_that_can_run_exits_0_and_costs_nothing(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("doctor") == ExitCode.DONE, verbs.out
    assert {line.split()[0] for line in verbs.out.splitlines()} == {"ok"}
    assert "takes the key of MESHAPI_API_KEY" in verbs.out
    assert server.accepted == 0


def test_nothing_that_is_printed_holds_the_key_or_the_home(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(verbs.root.parent))
    verbs.call("doctor")
    assert SANDBOX_KEY not in verbs.out
    assert str(verbs.root.parent) not in verbs.out
    assert "~/" in verbs.out


def test_no_key_is_a_finding_and_no_traceback(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert verbs.call("doctor") == ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY and MESHAPI_TOKEN not set" in verbs.out


@pytest.mark.parametrize(("status", "code"), [(401, ExitCode.KEY_REFUSED), (500, ExitCode.UNREACHABLE)])
def test_what_the_service_says_becomes_the_exit_code(
    verbs: VerbBench, server: SandboxServer, status: int, code: ExitCode
) -> None:
    for where in (Where.LIST, Where.GET):
        server.faults.add(Fault(where=where, kind=Kind.ANSWER, status=status, times=None))
    assert verbs.call("doctor") == code


def test_a_service_that_is_not_there_exits_69(verbs: VerbBench) -> None:
    assert verbs.call("doctor", "--base-url", "http://127.0.0.1:9") == ExitCode.UNREACHABLE


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
def test_what_run_refuses_doctor_does_not_call_ok(trouble: str, code: ExitCode, verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    base = verbs.root / "rehearsal"
    state, runs = base / ".callsheet", base / "runs"
    match trouble:
        case "a lost ledger":
            (state / "ledger.db").unlink()
        case "a link for the ledger":
            (state / "ledger.db").rename(verbs.root / "elsewhere.db")
            (state / "ledger.db").symlink_to(verbs.root / "elsewhere.db")
        case "a link for the lock":
            (state / "lock").unlink()
            (state / "lock").symlink_to(verbs.root / "elsewhere")
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
    assert verbs.call("doctor") == code, verbs.out
    assert "nothing was sent" not in verbs.out
    assert verbs.call("run", "boat.yaml") == code, verbs.err


def test_no_project_exits_73_and_the_versions_are_told_still(
    verbs: VerbBench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert verbs.call("doctor") == ExitCode.NO_PROJECT
    assert "callsheet init" in verbs.out
    assert "on Python" in verbs.out


def test_a_corrupt_ledger_exits_74(verbs: VerbBench) -> None:
    verbs.call("run", "boat.yaml")
    ledger = verbs.root / "rehearsal/.callsheet/ledger.db"
    for companion in ledger.parent.glob("ledger.db-*"):
        companion.unlink()
    data = bytearray(ledger.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    ledger.write_bytes(data)
    assert verbs.call("doctor") == ExitCode.CANNOT_WRITE
    assert _findings(verbs)["ledger"]["level"] == "wrong"


def test_a_clock_that_is_off_is_a_warning(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3600)
    assert verbs.call("doctor") == ExitCode.DONE
    clock = _findings(verbs)["clock"]
    # the answer's Date has whole seconds, and the machine takes some to read it
    assert -3610 < int(clock["words"].split(" s to ")[0]) < -3590
    assert clock["level"] == "warning"


def test_a_clock_that_is_off_by_a_day_says_which_jobs_run_refuses(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() + 3 * 86_400)
    clock = _findings(verbs)["clock"]
    assert clock["level"] == "warning"
    assert "`run` refuses jobs that use `run.date`" in clock["words"]


def test_a_missing_extra_is_a_warning_with_the_command(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_EXTRAS", {"media": (("no-such-library",), "no thumbnails")})
    assert verbs.call("doctor") == ExitCode.DONE
    assert "not installed: no thumbnails; hint: pip install 'callsheet[media]'" in verbs.out


def test_a_rehearsal_needs_neither_key_nor_network_and_leaves_nothing(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHAPI_API_KEY")
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert verbs.call("doctor", "--sandbox") == ExitCode.DONE, verbs.out
    assert not (verbs.root / "rehearsal").exists()
    assert isinstance(verbs.root, Path)
