"""`callsheet reconcile`: what is unclear with its evidence, and a person's three answers."""

from __future__ import annotations

import httpx
import pytest

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.desk import Desk
from tests.support.moment import deadline_once


@pytest.fixture
def held(desk: Desk) -> str:
    """The name of a task that is held: the service answered 500 and accepted nothing."""
    desk.fault(Kind.ANSWER, status=500)
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert sorted(desk.states()) == ["done", "held"]
    assert "callsheet reconcile" in desk.err
    (one,) = desk.unclear()
    return str(one["task"])


def test_nothing_unclear_is_an_empty_list(desk: Desk) -> None:
    assert desk.call("reconcile") == ExitCode.DONE
    assert desk.out == "0 unclear tasks\n"
    assert desk.unclear() == []


def test_a_held_task_is_listed_with_its_evidence_and_what_to_type(desk: Desk, held: str) -> None:
    assert desk.call("reconcile") == ExitCode.PERSON_NEEDED
    first, _, evidence, total = desk.out.splitlines()
    assert first.startswith(f"held  {held}  ")
    assert "500" in evidence
    assert "the service itself did not know" in evidence
    assert total == "1 unclear task"
    for option in ("--adopt ID", "--again", "--write-off"):
        assert f"callsheet reconcile {held} {option}" in desk.err


def test_for_programs_it_is_one_json_list(desk: Desk, held: str) -> None:
    (one,) = desk.unclear()
    assert (one["task"], one["state"], one["evidence"]["status"]) == (held, "held", 500)
    assert "did not know" in one["held_because"]["reason"]


def test_again_lets_the_next_run_submit_it(desk: Desk, held: str, server: SandboxServer) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 1
    assert desk.call("reconcile", held, "--again") == ExitCode.DONE
    assert "callsheet run boat.yaml" in desk.err
    assert server.accepted == 1, "reconcile itself submits nothing"
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2
    settled = [
        attempt["resolution_evidence"]
        for task in desk.manifest()["tasks"]
        for attempt in task["attempts"]
        if attempt["resolution"] == "again"
    ]
    assert settled == [{"basis": "person", "was": "held"}]


def test_what_is_written_off_is_not_submitted_by_a_run(desk: Desk, held: str, server: SandboxServer) -> None:
    assert desk.call("reconcile", held, "--write-off") == ExitCode.DONE
    desk.call("run", "boat.yaml")
    assert sorted(desk.states()) == ["done", "written_off"]
    assert server.accepted == 1
    assert desk.call("retry") == ExitCode.DONE
    assert server.accepted == 2


def test_adopt_takes_the_generation_that_a_person_has_found(desk: Desk, server: SandboxServer) -> None:
    desk.write((desk.root / "boat.yaml").read_text().replace("settle: 0s", "settle: 60s"))
    desk.fault(Kind.ANSWER, status=500, accept=True)
    desk.server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        desk.call("run", "boat.yaml", "--deadline", "60s")
    desk.server.faults.clear()
    (one,) = desk.unclear()
    mine, others = _whose(desk, server)
    assert desk.call("reconcile", one["task"], "--adopt", others) == ExitCode.USAGE
    assert "belongs to another task already" in desk.err
    assert desk.call("reconcile", one["task"], "--adopt", "t-nothing") == ExitCode.UNREACHABLE
    assert desk.call("reconcile", one["identity"][:12], "--adopt", mine) == ExitCode.DONE
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert desk.states() == ["done", "done"]
    assert server.accepted == 2


def _whose(desk: Desk, server: SandboxServer) -> tuple[str, str]:
    """The id that no attempt holds, and one that is held."""
    claimed = {attempt["remote_id"] for task in desk.manifest()["tasks"] for attempt in task["attempts"]} - {
        None
    }
    (mine,) = {task.id for task in server.tasks()} - claimed
    return mine, claimed.pop()


def test_a_generation_that_contradicts_is_adopted_only_with_yes(
    desk: Desk, held: str, server: SandboxServer
) -> None:
    """Another project's video under our task's name would be a wrong one."""
    body = {**server.tasks()[0].request, "seed": 99, "duration": 5}
    answer = httpx.post(
        f"{server.url}/v1/video/generations", json=body, headers={"Authorization": f"Bearer {SANDBOX_KEY}"}
    )
    foreign = answer.json()["id"]
    assert desk.call("reconcile", held, "--adopt", foreign) == ExitCode.PERSON_NEEDED
    assert "--yes" in desk.err
    assert len(desk.unclear()) == 1
    assert desk.call("reconcile", held, "--adopt", foreign, "--yes") == ExitCode.DONE
    assert desk.unclear() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--again"],
        ["no-such-task", "--again"],
        ["{held}"],
        ["{held}", "--again", "--write-off"],
        ["{held}", "--adopt", "t-1", "--again"],
    ],
)
def test_half_an_answer_changes_nothing(
    desk: Desk, held: str, server: SandboxServer, arguments: list[str]
) -> None:
    before = desk.unclear()
    assert desk.call("reconcile", *(word.format(held=held) for word in arguments)) == ExitCode.USAGE
    assert "hint:" in desk.err
    assert desk.unclear() == before
