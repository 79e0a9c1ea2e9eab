"""`--only`: what is submitted now, while the run stays the whole job's."""

from __future__ import annotations

import json

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxConfig, SandboxServer
from tests.support.desk import JOB, STORY, Desk


def test_only_what_is_named_is_submitted_and_the_next_run_goes_on(desk: Desk, server: SandboxServer) -> None:
    assert desk.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert "--only: 1 of 2 tasks" in desk.err
    assert server.accepted == 1
    assert desk.states() == ["done", "planned"]
    first = desk.manifest()["run"]["id"]
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert (server.accepted, desk.states()) == (2, ["done", "done"])
    assert desk.manifest()["run"]["id"] == first, "one run, with one date and one cap"


def test_the_cap_is_the_whole_run_s(desk: Desk, server: SandboxServer) -> None:
    desk.write(JOB + "budget: {max_tasks: 1}\n")
    assert desk.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert desk.call("run", "boat.yaml", "--only", "s2") == ExitCode.REFUSED
    assert server.accepted == 1


def test_what_is_left_out_needs_no_price_and_no_free_path(desk: Desk) -> None:
    (desk.root / "rehearsal/out").mkdir(parents=True)
    (desk.root / "rehearsal/out/s2.mp4").write_text("somebody's")
    assert desk.call("run", "boat.yaml") == ExitCode.JOB_INVALID
    assert desk.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE, desk.err


def test_plan_shows_the_chosen_ones(desk: Desk) -> None:
    assert desk.call("plan", "boat.yaml", "--only", "*2", "--output-format", "jsonl") == ExitCode.DONE
    (task,) = map(json.loads, desk.out.splitlines())
    assert task["name"] == "s2"
    assert desk.call("plan", "boat.yaml", "--only", task["identity"][:8], "--only", "s1") == ExitCode.DONE
    assert "--only: 2 of 2 tasks" in desk.err
    assert "callsheet run boat.yaml --only" in desk.err


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_pattern_that_names_none_is_an_error_with_near_names(
    desk: Desk, server: SandboxServer, verb: str
) -> None:
    assert desk.call(verb, "boat.yaml", "--only", "s1", "--only", "s3") == ExitCode.USAGE
    assert "no task `s3` among the 2 of boat.yaml; hint: did you mean `s2` or `s1`?" in desk.err
    assert desk.call(verb, "boat.yaml", "--only", "nothing-*") == ExitCode.USAGE
    assert "lists the tasks" in desk.err
    assert server.accepted == 0


def test_a_retry_of_one_pays_for_no_other(desk: Desk, server: SandboxServer) -> None:
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", times=2)
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert "next: callsheet retry" in desk.err
    assert desk.call("retry", "--only", "s2") == ExitCode.TASK_FAILED
    assert (server.accepted, desk.states()) == (3, ["failed", "done"])


def test_a_pattern_is_about_one_job(desk: Desk, server: SandboxServer) -> None:
    assert desk.call("run", "boat.yaml", "boat.yaml", "--only", "s1") == ExitCode.USAGE
    assert "--only is about one job" in desk.err
    assert server.accepted == 0


def test_what_needs_another_task_waits_for_it(desk: Desk, server: SandboxServer) -> None:
    """It is not chosen with it: nobody pays for what was not named."""
    desk.write(STORY)
    assert desk.call("plan", "boat.yaml", "--only", "second*") == ExitCode.DONE, desk.err
    assert desk.call("run", "boat.yaml", "--only", "second*") == ExitCode.DONE, desk.err
    assert server.accepted == 0
    assert desk.call("run", "boat.yaml", "--only", "first*") == ExitCode.DONE, desk.err
    assert server.accepted == 1
    assert desk.call("run", "boat.yaml", "--only", "second*") == ExitCode.DONE, desk.err
    assert (server.accepted, desk.states()) == (2, ["done", "done"])


def test_a_rehearsal_at_another_server_leaves_alone_what_was_not_named(desk: Desk) -> None:
    """Its files make way for the new server's, but only those of tasks that are made again."""
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    files = [desk.root / f"rehearsal/out/s{seed}.mp4" for seed in (1, 2)]
    second = files[1].read_bytes()
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as other:
        assert desk.call("run", "boat.yaml", "--base-url", other.url, "--only", "s1") == ExitCode.DONE, (
            desk.err
        )
        assert (other.accepted, files[1].read_bytes()) == (1, second)
