"""`callsheet runs`: which runs there are, in both worlds."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind
from tests.support.terminal import on_terminal
from tests.support.verb_bench import JOB, VerbBench


@pytest.fixture
def three(verbs: VerbBench) -> VerbBench:
    """One run that is done, one with a failed task, and one with a held task."""
    verbs.write(JOB + "price: {usd_per_task: 0.25}\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    for name, fault, code in (
        ("ship", {"kind": Kind.OUTCOME, "text": "failed", "code": "internal_error"}, ExitCode.TASK_FAILED),
        ("raft", {"kind": Kind.ANSWER, "status": 500}, ExitCode.PERSON_NEEDED),
    ):
        (verbs.root / f"{name}.yaml").write_text(JOB.replace("boat", name).replace("out/", f"{name}/"))
        verbs.fault(**fault)  # type: ignore[arg-type]
        assert verbs.call("run", f"{name}.yaml") == code, verbs.err
    return verbs


def _listed(verbs: VerbBench, *options: str) -> list[dict[str, Any]]:
    assert verbs.call("runs", "--output-format", "json", *options) == ExitCode.DONE, verbs.err
    rows: list[dict[str, Any]] = json.loads(verbs.out)
    return rows


def test_runs_are_listed_newest_first_with_what_became_of_them(three: VerbBench) -> None:
    raft, ship, boat = _listed(three)
    assert [row["job_file"] for row in (raft, ship, boat)] == ["raft.yaml", "ship.yaml", "boat.yaml"]
    assert (boat["state"], boat["counts"], boat["usd"]) == ("finished", {"done": 2}, "0.50")
    assert ship["counts"] == {"done": 1, "failed": 1}
    assert (raft["state"], raft["counts"]) == ("unfinished", {"done": 1, "held": 1})
    assert {row["world"] for row in (raft, ship, boat)} == {"rehearsal"}


def test_a_person_reads_a_line_for_each(three: VerbBench) -> None:
    assert three.call("runs") == ExitCode.DONE
    raft, ship, boat = three.out.splitlines()
    assert f"{datetime.now():%Y-%m-%d}" in boat
    for words in ("boat.yaml", "finished", "2 done", "USD 0.50", "rehearsal"):
        assert words in boat
    assert "1 done, 1 failed" in ship or "1 failed, 1 done" in ship
    assert "unfinished" in raft


def test_a_limit_shows_the_newest_and_tells_of_the_rest(three: VerbBench) -> None:
    assert [row["job_file"] for row in _listed(three, "--limit", "1")] == ["raft.yaml"]
    assert three.call("runs", "--limit", "1") == ExitCode.DONE
    assert "2 older runs; hint: --limit 3 lists all" in three.err


def test_without_a_run_it_says_what_to_do(verbs: VerbBench) -> None:
    assert verbs.call("runs") == ExitCode.USAGE
    assert "callsheet run JOB" in verbs.err


def test_the_beginning_of_an_id_that_is_listed_is_enough(three: VerbBench) -> None:
    for row in _listed(three):
        assert three.call("status", row["run"][:-1]) == ExitCode.DONE, three.err
        assert row["run"] in three.out


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_it_fits_the_terminal(three: VerbBench, columns: int) -> None:
    seen = on_terminal("runs", cwd=three.root, columns=columns)
    assert seen.exit_code == ExitCode.DONE
    assert max(map(len, seen.text.splitlines())) <= columns
    for words in ("boat.yaml", "2 done", "USD 0.50", "rehearsal"):
        assert words in seen.text


def test_failed_tasks_are_shown_alone_with_their_reason(three: VerbBench) -> None:
    ship = _listed(three)[1]["run"]
    assert three.call("status", ship, "--failed") == ExitCode.DONE
    _, failed, total, _of_all = three.out.splitlines()
    assert failed.startswith("failed  s")
    assert "internal_error" in failed
    assert total == "1 task: 1 failed"
    assert three.call("status", ship, "--failed", "--output-format", "json") == ExitCode.DONE
    assert [task["state"] for task in json.loads(three.out)["tasks"]] == ["failed"]


def test_watching_needs_a_terminal_and_ends_where_nothing_is_under_way(three: VerbBench) -> None:
    assert three.call("status", "--watch") == ExitCode.USAGE
    assert "--watch needs a terminal" in three.err
    seen = on_terminal("status", "--watch", cwd=three.root)
    assert seen.exit_code == ExitCode.DONE
    assert "raft.yaml" in seen.text
