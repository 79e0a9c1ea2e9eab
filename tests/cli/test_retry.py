"""`callsheet retry`, `run --again`, and what stops a run from spending."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxServer
from tests.support.verb_bench import JOB, STORY, VerbBench


@pytest.fixture
def failed(verbs: VerbBench) -> VerbBench:
    """A run of which one task succeeded and one failed."""
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert sorted(verbs.states()) == ["done", "failed"]
    return verbs


def test_a_run_leaves_a_failed_task_alone_and_retry_pays_for_it_again(
    failed: VerbBench, server: SandboxServer
) -> None:
    assert failed.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert failed.call("resume") == ExitCode.TASK_FAILED
    assert failed.call("collect") == ExitCode.DONE
    assert server.accepted == 2
    assert failed.call("retry") == ExitCode.DONE
    assert failed.states() == ["done", "done"]
    assert server.accepted == 3
    assert sorted(failed.reasons()) == [["run"], ["run", "retry"]]
    assert failed.call("retry") == ExitCode.DONE
    assert server.accepted == 3, "nothing is failed any more"


def test_a_retry_pays_for_nothing_that_has_not_failed(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert verbs.call("retry") == ExitCode.TRY_AGAIN
    assert "retry submits what failed; run goes on with the rest" in verbs.err
    assert "next: callsheet run boat.yaml" in verbs.err
    assert (server.accepted, verbs.states()) == (1, ["done", "planned"])
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2


def test_a_retry_goes_on_with_what_hangs_on_it(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(STORY)
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert server.accepted == 1
    assert verbs.call("retry") == ExitCode.DONE, verbs.err
    assert (server.accepted, verbs.states()) == (3, ["done", "done"])


def test_only_limits_a_retry(failed: VerbBench, server: SandboxServer) -> None:
    assert failed.call("retry", "--only", "no-such-*") == ExitCode.USAGE
    assert "hint:" in failed.err
    (done,) = [task["name"] for task in failed.manifest()["tasks"] if task["state"] == "done"]
    assert failed.call("retry", "--only", done) == ExitCode.TASK_FAILED
    assert server.accepted == 2, "a done task is no failed one"


def test_again_pays_for_a_new_take_and_keeps_the_old_one(verbs: VerbBench, server: SandboxServer) -> None:
    """A second run does not; the first take's bytes stay where they are."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    first = (verbs.root / "rehearsal/out/s1.mp4").read_bytes()
    name = verbs.manifest()["tasks"][0]["name"]
    assert verbs.call("run", "boat.yaml", "--again", name) == ExitCode.DONE, verbs.err
    assert server.accepted == 3
    assert verbs.reasons() == [["run", "again"], ["run"]]
    assert (verbs.root / "rehearsal/out/s1.mp4").read_bytes() == first
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 3


def test_a_new_take_that_could_not_be_sent_is_sent_by_the_next_run(
    verbs: VerbBench, server: SandboxServer
) -> None:
    """Its old take lies under the output's name: that is its own file, and no reason to refuse."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    name = verbs.manifest()["tasks"][0]["name"]
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert verbs.call("run", "boat.yaml", "--again", name) == ExitCode.OUT_OF_MONEY
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 3
    assert verbs.reasons() == [["run", "again"], ["run"]]


def test_a_cap_holds_over_retries(verbs: VerbBench, server: SandboxServer) -> None:
    """A failed task was accepted, so it counts."""
    verbs.write(JOB + "budget: {max_tasks: 2}\n")
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert verbs.call("retry") == ExitCode.REFUSED
    assert "budget.max_tasks" in verbs.err
    assert server.accepted == 2


def test_an_unclear_submit_counts_against_the_cap(verbs: VerbBench, server: SandboxServer) -> None:
    """Held by a 500: it may have been billed."""
    verbs.write(JOB + "budget: {max_tasks: 1}\n")
    verbs.fault(Kind.ANSWER, status=500)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert "budget.max_tasks" in verbs.err
    assert server.accepted == 0
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, ExitCode.KEY_REFUSED), (403, ExitCode.KEY_REFUSED), (402, ExitCode.OUT_OF_MONEY)],
)
def test_a_refusal_stops_submitting_and_what_is_in_flight_is_collected(
    verbs: VerbBench, server: SandboxServer, status: int, code: ExitCode
) -> None:
    verbs.write(
        JOB.replace("seeds: 1..2", "seeds: 1..6").replace("settle: 0s", "settle: 0s, submit_slots: 1")
    )
    verbs.fault(Kind.ANSWER, status=status, code="refused", message="no more", after=2, times=None)
    assert verbs.call("run", "boat.yaml") == code
    assert "no more" in verbs.err
    assert sorted(verbs.states()) == ["done"] * 2 + ["planned"] * 4
    assert len(list((verbs.root / "rehearsal/out").glob("*.mp4"))) == 2
    assert server.faults.struck == 1, "asked once more after the service said no"
    server.faults.clear()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 6


def test_max_failures_counts_the_service_s_verdicts_only(verbs: VerbBench, server: SandboxServer) -> None:
    """Neither a cut connection nor a refusal that passes is one; the second verdict ends the submitting."""
    verbs.write(
        JOB.replace("seeds: 1..2", "seeds: 1..8").replace(
            "settle: 0s", "settle: 0s, max_failures: 2, submit_slots: 1, concurrency: 1"
        )
    )
    verbs.fault(Kind.CUT)
    verbs.fault(Kind.ANSWER, status=429, retry_after=0.01, after=1)
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", after=3, times=None)
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert "run.max_failures" in verbs.err
    states = verbs.states()
    assert states.count("failed") == 2
    assert "planned" in states
    assert server.accepted < 8


def test_the_cap_of_a_run_holds_for_retries_from_another_one(verbs: VerbBench, server: SandboxServer) -> None:
    """A `run` between them submits nothing and starts a run of its own, whose cap is untouched."""
    verbs.write(JOB.replace("seeds: 1..2", "seeds: 1") + "budget: {max_tasks: 1}\n")
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", times=None)
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    for _ in range(2):
        assert verbs.call("retry") == ExitCode.REFUSED
        assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert server.accepted == 1
    verbs.write(JOB.replace("seeds: 1..2", "seeds: 1") + "budget: {max_tasks: 2}\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert verbs.call("retry") == ExitCode.TASK_FAILED
    assert server.accepted == 2
