"""`--only`: what is submitted now, while the run stays the whole job's."""

from __future__ import annotations

import json

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxConfig, SandboxServer
from tests.support.verb_bench import JOB, STORY, VerbBench


def test_only_what_is_named_is_submitted_and_the_next_run_goes_on(
    verbs: VerbBench, server: SandboxServer
) -> None:
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert "--only: 1 of 2 tasks" in verbs.err
    assert server.accepted == 1
    assert verbs.states() == ["done", "planned"]
    first = verbs.manifest()["run"]["id"]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert (server.accepted, verbs.states()) == (2, ["done", "done"])
    assert verbs.manifest()["run"]["id"] == first, "one run, with one date and one cap"


def test_the_cap_is_the_whole_run_s(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(JOB + "budget: {max_tasks: 1}\n")
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    assert verbs.call("run", "boat.yaml", "--only", "s2") == ExitCode.REFUSED
    assert server.accepted == 1


def test_what_is_left_out_needs_no_price_and_no_free_path(verbs: VerbBench) -> None:
    (verbs.root / "rehearsal/out").mkdir(parents=True)
    (verbs.root / "rehearsal/out/s2.mp4").write_text("somebody's")
    assert verbs.call("run", "boat.yaml") == ExitCode.JOB_INVALID
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE, verbs.err


def test_plan_shows_the_chosen_ones(verbs: VerbBench) -> None:
    assert verbs.call("plan", "boat.yaml", "--only", "*2", "--output-format", "jsonl") == ExitCode.DONE
    (task,) = map(json.loads, verbs.out.splitlines())
    assert task["name"] == "s2"
    assert verbs.call("plan", "boat.yaml", "--only", task["identity"][:8], "--only", "s1") == ExitCode.DONE
    assert "--only: 2 of 2 tasks" in verbs.err
    assert "callsheet run boat.yaml --only" in verbs.err


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_pattern_that_names_none_is_an_error_with_near_names(
    verbs: VerbBench, server: SandboxServer, verb: str
) -> None:
    assert verbs.call(verb, "boat.yaml", "--only", "s1", "--only", "s3") == ExitCode.USAGE
    assert "no task `s3` among the 2 of boat.yaml; hint: did you mean `s2` or `s1`?" in verbs.err
    assert verbs.call(verb, "boat.yaml", "--only", "nothing-*") == ExitCode.USAGE
    assert "lists the tasks" in verbs.err
    assert server.accepted == 0


def test_a_retry_of_one_pays_for_no_other(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", times=2)
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert "next: callsheet retry" in verbs.err
    assert verbs.call("retry", "--only", "s2") == ExitCode.TASK_FAILED
    assert (server.accepted, verbs.states()) == (3, ["failed", "done"])


def test_a_pattern_is_about_one_job(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml", "boat.yaml", "--only", "s1") == ExitCode.USAGE
    assert "--only is about one job" in verbs.err
    assert server.accepted == 0


def test_what_needs_another_task_waits_for_it(verbs: VerbBench, server: SandboxServer) -> None:
    """It is not chosen with it: nobody pays for what was not named."""
    verbs.write(STORY)
    assert verbs.call("plan", "boat.yaml", "--only", "second*") == ExitCode.DONE, verbs.err
    assert verbs.call("run", "boat.yaml", "--only", "second*") == ExitCode.DONE, verbs.err
    assert server.accepted == 0
    assert verbs.call("run", "boat.yaml", "--only", "first*") == ExitCode.DONE, verbs.err
    assert server.accepted == 1
    assert verbs.call("run", "boat.yaml", "--only", "second*") == ExitCode.DONE, verbs.err
    assert (server.accepted, verbs.states()) == (2, ["done", "done"])


def test_a_rehearsal_at_another_server_leaves_alone_what_was_not_named(verbs: VerbBench) -> None:
    """Its files make way for the new server's, but only those of tasks that are made again."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    files = [verbs.root / f"rehearsal/out/s{seed}.mp4" for seed in (1, 2)]
    second = files[1].read_bytes()
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as other:
        assert verbs.call("run", "boat.yaml", "--base-url", other.url, "--only", "s1") == ExitCode.DONE, (
            verbs.err
        )
        assert (other.accepted, files[1].read_bytes()) == (1, second)


TAKES = JOB.replace("out/s${{ seed }}.mp4", "out/${{ seed }}/boat.mp4")


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ("2-boat", "."),
        ("out/2/boat.mp4", "."),
        ("out/2/boat", "."),
        ("rehearsal/out/2/boat.mp4", "."),
        ("../rehearsal/out/2/*", "elsewhere"),
        ("{root}/rehearsal/out/2/boat.mp4", "."),
        ("s2", "."),
    ],
)
def test_a_task_is_named_by_name_by_path_or_by_its_cell(
    verbs: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, typed: str, where: str
) -> None:
    """`s2` is what its cell is called: a ledger of an older callsheet has that name."""
    verbs.write(TAKES)
    (verbs.root / "elsewhere").mkdir()
    monkeypatch.chdir(verbs.root / where)
    typed, job = typed.format(root=verbs.root), str(verbs.root / "boat.yaml")
    assert verbs.call("run", job, "--only", typed) == ExitCode.DONE, verbs.err
    assert (server.accepted, verbs.states()) == (1, ["planned", "done"])
    assert verbs.call("run", job, "--again", typed, "--only", typed) == ExitCode.DONE, verbs.err
    assert (server.accepted, verbs.states()) == (2, ["planned", "done"])
    assert [task["name"] for task in verbs.manifest()["tasks"]] == ["1-boat", "2-boat"]


def test_a_name_comes_before_a_cell_of_that_name(verbs: VerbBench, server: SandboxServer) -> None:
    """Seed 2 is written to `s1`, and seed 1 has the cell `s1`: one take is paid for, not two."""
    verbs.write(JOB.replace("out/s${{ seed }}.mp4", "out/s${{ index }}.mp4"))
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE, verbs.err
    assert (server.accepted, verbs.states()) == (1, ["planned", "done"])
