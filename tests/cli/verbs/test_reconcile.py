"""`callsheet reconcile`: what is unclear with its evidence, and a person's three answers."""

from __future__ import annotations

import httpx
import pytest

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import VerbBench


@pytest.fixture
def held(verbs: VerbBench) -> str:
    """The name of a task that is held: the service answered 500 and accepted nothing."""
    verbs.fault(Kind.ANSWER, status=500)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert sorted(verbs.states()) == ["done", "held"]
    assert "callsheet reconcile" in verbs.err
    (one,) = verbs.unclear()
    return str(one["task"])


def test_nothing_unclear_is_an_empty_list(verbs: VerbBench) -> None:
    assert verbs.call("reconcile") == ExitCode.DONE
    assert verbs.out == "0 unclear tasks\n"
    assert verbs.unclear() == []


def test_a_held_task_is_listed_with_its_evidence_and_what_to_type(verbs: VerbBench, held: str) -> None:
    assert verbs.call("reconcile") == ExitCode.PERSON_NEEDED
    first, prompt, _, evidence, *_, total = verbs.out.splitlines()
    assert first.startswith(f"held  {held}  ")
    assert "A paper boat" in prompt
    assert "500" in evidence
    assert "the service itself did not know" in evidence
    assert total == "1 unclear task"
    for option in ("--adopt ID", "--again", "--write-off"):
        assert f"callsheet reconcile {held} {option}" in verbs.out


def test_for_programs_it_is_one_json_list(verbs: VerbBench, held: str) -> None:
    (one,) = verbs.unclear()
    assert (one["task"], one["state"], one["evidence"]["status"]) == (held, "held", 500)
    assert "did not know" in one["held_because"]["reason"]


def test_again_lets_the_next_run_submit_it(verbs: VerbBench, held: str, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 1
    assert verbs.call("reconcile", held, "--again") == ExitCode.DONE
    assert "callsheet run boat.yaml" in verbs.err
    assert server.accepted == 1, "reconcile itself submits nothing"
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2
    settled = [
        attempt["resolution_evidence"]
        for task in verbs.manifest()["tasks"]
        for attempt in task["attempts"]
        if attempt["resolution"] == "again"
    ]
    assert settled == [{"basis": "person", "was": "held"}]


def test_what_is_written_off_is_not_submitted_by_a_run(
    verbs: VerbBench, held: str, server: SandboxServer
) -> None:
    assert verbs.call("reconcile", held, "--write-off") == ExitCode.DONE
    verbs.call("run", "boat.yaml")
    assert sorted(verbs.states()) == ["done", "written_off"]
    assert server.accepted == 1
    assert verbs.call("retry") == ExitCode.DONE
    assert server.accepted == 2


def test_adopt_takes_the_generation_that_a_person_has_found(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write((verbs.root / "boat.yaml").read_text().replace("settle: 0s", "settle: 60s"))
    verbs.fault(Kind.ANSWER, status=500, accept=True)
    verbs.server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        verbs.call("run", "boat.yaml", "--deadline", "60s")
    verbs.server.faults.clear()
    (one,) = verbs.unclear()
    mine, others = _whose(verbs, server)
    assert verbs.call("reconcile", one["task"], "--adopt", others) == ExitCode.USAGE
    assert "belongs to another task already" in verbs.err
    assert verbs.call("reconcile", one["task"], "--adopt", "t-nothing") == ExitCode.UNREACHABLE
    assert verbs.call("reconcile", one["identity"][:12], "--adopt", mine) == ExitCode.DONE
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.states() == ["done", "done"]
    assert server.accepted == 2


def _whose(verbs: VerbBench, server: SandboxServer) -> tuple[str, str]:
    """The id that no attempt holds, and one that is held."""
    claimed = {attempt["remote_id"] for task in verbs.manifest()["tasks"] for attempt in task["attempts"]} - {
        None
    }
    (mine,) = {task.id for task in server.tasks()} - claimed
    return mine, claimed.pop()


def test_a_generation_that_contradicts_is_adopted_only_with_yes(
    verbs: VerbBench, held: str, server: SandboxServer
) -> None:
    """Another project's video under our task's name would be a wrong one."""
    body = {**server.tasks()[0].request, "seed": 99, "duration": 5}
    answer = httpx.post(
        f"{server.url}/v1/video/generations", json=body, headers={"Authorization": f"Bearer {SANDBOX_KEY}"}
    )
    foreign = answer.json()["id"]
    assert verbs.call("reconcile", held, "--adopt", foreign) == ExitCode.PERSON_NEEDED
    assert "--yes" in verbs.err
    assert len(verbs.unclear()) == 1
    assert verbs.call("reconcile", held, "--adopt", foreign, "--yes") == ExitCode.DONE
    assert verbs.unclear() == []


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
    verbs: VerbBench, held: str, server: SandboxServer, arguments: list[str]
) -> None:
    before = verbs.unclear()
    assert verbs.call("reconcile", *(word.format(held=held) for word in arguments)) == ExitCode.USAGE
    assert "hint:" in verbs.err
    assert verbs.unclear() == before
