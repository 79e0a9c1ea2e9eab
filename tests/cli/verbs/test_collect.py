"""`collect` as cron calls it: one line for a program, and a monitor that hears how it ended."""

from __future__ import annotations

import json

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, VerbBench


def test_one_line_says_what_was_collected(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("collect", "--output-format", "json") == ExitCode.DONE
    assert json.loads(verbs.out) == {"exit_code": 0, "services": []}
    server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=503, code="overloaded", times=None))
    with deadline_once(lambda: server.accepted == 2):
        assert verbs.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()
    assert verbs.call("collect", "--output-format", "json") == ExitCode.DONE, verbs.err
    (line,) = verbs.out.splitlines()
    (service,) = json.loads(line)["services"]
    assert (service["origin"], service["counts"]) == (server.url, {"done": 2})
    assert server.accepted == 2


def test_a_monitor_has_to_be_named(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLSHEET_PING_URL", raising=False)
    assert verbs.call("collect", "--ping") == ExitCode.USAGE
    assert "CALLSHEET_PING_URL is not set" in verbs.err


@pytest.mark.parametrize(("name", "documents"), [("json", 1), ("jsonl", 2)])
def test_two_jobs_are_one_document_or_two_lines(verbs: VerbBench, name: str, documents: int) -> None:
    (verbs.root / "other.yaml").write_text(JOB.replace("out/", "elsewhere/").replace("boat", "ship"))
    assert verbs.call("run", "boat.yaml", "other.yaml", "--output-format", name) == ExitCode.DONE, verbs.err
    found = [json.loads(line) for line in verbs.out.splitlines()] if documents == 2 else json.loads(verbs.out)
    assert [one["job"] for one in found] == ["boat.yaml", "other.yaml"]
