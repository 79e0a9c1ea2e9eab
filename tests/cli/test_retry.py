"""`callsheet retry`, `run --again`, and what stops a run from spending."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxServer
from tests.support.desk import JOB, STORY, Desk


@pytest.fixture
def failed(desk: Desk) -> Desk:
    """A run of which one task succeeded and one failed."""
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert sorted(desk.states()) == ["done", "failed"]
    return desk


def test_a_run_leaves_a_failed_task_alone_and_retry_pays_for_it_again(
    failed: Desk, server: SandboxServer
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


def test_a_retry_pays_for_nothing_that_has_not_failed(desk: Desk, server: SandboxServer) -> None:
    assert desk.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert desk.call("retry") == ExitCode.TRY_AGAIN
    assert "retry submits what failed; run goes on with the rest" in desk.err
    assert "next: callsheet run boat.yaml" in desk.err
    assert (server.accepted, desk.states()) == (1, ["done", "planned"])
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2


def test_a_retry_goes_on_with_what_hangs_on_it(desk: Desk, server: SandboxServer) -> None:
    desk.write(STORY)
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert server.accepted == 1
    assert desk.call("retry") == ExitCode.DONE, desk.err
    assert (server.accepted, desk.states()) == (3, ["done", "done"])


def test_only_limits_a_retry(failed: Desk, server: SandboxServer) -> None:
    assert failed.call("retry", "--only", "no-such-*") == ExitCode.USAGE
    assert "hint:" in failed.err
    (done,) = [task["name"] for task in failed.manifest()["tasks"] if task["state"] == "done"]
    assert failed.call("retry", "--only", done) == ExitCode.TASK_FAILED
    assert server.accepted == 2, "a done task is no failed one"


def test_again_pays_for_a_new_take_and_keeps_the_old_one(desk: Desk, server: SandboxServer) -> None:
    """A second run does not; the first take's bytes stay where they are."""
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    first = (desk.root / "rehearsal/out/s1.mp4").read_bytes()
    name = desk.manifest()["tasks"][0]["name"]
    assert desk.call("run", "boat.yaml", "--again", name) == ExitCode.DONE, desk.err
    assert server.accepted == 3
    assert desk.reasons() == [["run", "again"], ["run"]]
    assert (desk.root / "rehearsal/out/s1.mp4").read_bytes() == first
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 3


def test_a_new_take_that_could_not_be_sent_is_sent_by_the_next_run(desk: Desk, server: SandboxServer) -> None:
    """Its old take lies under the output's name: that is its own file, and no reason to refuse."""
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    name = desk.manifest()["tasks"][0]["name"]
    desk.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert desk.call("run", "boat.yaml", "--again", name) == ExitCode.OUT_OF_MONEY
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    assert server.accepted == 3
    assert desk.reasons() == [["run", "again"], ["run"]]


def test_a_cap_holds_over_retries(desk: Desk, server: SandboxServer) -> None:
    """A failed task was accepted, so it counts."""
    desk.write(JOB + "budget: {max_tasks: 2}\n")
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error")
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert desk.call("retry") == ExitCode.REFUSED
    assert "budget.max_tasks" in desk.err
    assert server.accepted == 2


def test_an_unclear_submit_counts_against_the_cap(desk: Desk, server: SandboxServer) -> None:
    """Held by a 500: it may have been billed."""
    desk.write(JOB + "budget: {max_tasks: 1}\n")
    desk.fault(Kind.ANSWER, status=500)
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert "budget.max_tasks" in desk.err
    assert server.accepted == 0
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, ExitCode.KEY_REFUSED), (403, ExitCode.KEY_REFUSED), (402, ExitCode.OUT_OF_MONEY)],
)
def test_a_refusal_stops_submitting_and_what_is_in_flight_is_collected(
    desk: Desk, server: SandboxServer, status: int, code: ExitCode
) -> None:
    desk.write(JOB.replace("seeds: 1..2", "seeds: 1..6").replace("settle: 0s", "settle: 0s, submit_slots: 1"))
    desk.fault(Kind.ANSWER, status=status, code="refused", message="no more", after=2, times=None)
    assert desk.call("run", "boat.yaml") == code
    assert "no more" in desk.err
    assert sorted(desk.states()) == ["done"] * 2 + ["planned"] * 4
    assert len(list((desk.root / "rehearsal/out").glob("*.mp4"))) == 2
    assert server.faults.struck == 1, "asked once more after the service said no"
    server.faults.clear()
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 6


def test_max_failures_counts_the_service_s_verdicts_only(desk: Desk, server: SandboxServer) -> None:
    """Neither a cut connection nor a refusal that passes is one; the second verdict ends the submitting."""
    desk.write(
        JOB.replace("seeds: 1..2", "seeds: 1..8").replace(
            "settle: 0s", "settle: 0s, max_failures: 2, submit_slots: 1, concurrency: 1"
        )
    )
    desk.fault(Kind.CUT)
    desk.fault(Kind.ANSWER, status=429, retry_after=0.01, after=1)
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", after=3, times=None)
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert "run.max_failures" in desk.err
    states = desk.states()
    assert states.count("failed") == 2
    assert "planned" in states
    assert server.accepted < 8


def test_the_cap_of_a_run_holds_for_retries_from_another_one(desk: Desk, server: SandboxServer) -> None:
    """A `run` between them submits nothing and starts a run of its own, whose cap is untouched."""
    desk.write(JOB.replace("seeds: 1..2", "seeds: 1") + "budget: {max_tasks: 1}\n")
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", times=None)
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    for _ in range(2):
        assert desk.call("retry") == ExitCode.REFUSED
        assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert server.accepted == 1
    desk.write(JOB.replace("seeds: 1..2", "seeds: 1") + "budget: {max_tasks: 2}\n")
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert desk.call("retry") == ExitCode.TASK_FAILED
    assert server.accepted == 2
