"""The run that a name means, when the link `runs/latest` or the run's folder is gone."""

from __future__ import annotations

import shutil

import pytest

from runner.errors import ExitCode
from runner.sandbox import SandboxServer
from tests.support.verb_bench import VerbBench


@pytest.fixture
def done(verbs: VerbBench) -> VerbBench:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    return verbs


def _run_id(verbs: VerbBench) -> str:
    return (verbs.root / "rehearsal/runs/latest").readlink().name


@pytest.mark.parametrize("verb", ["resume", "retry", "status"])
def test_without_the_link_latest_is_the_newest_run_of_the_ledger(
    done: VerbBench, server: SandboxServer, verb: str
) -> None:
    (done.root / "rehearsal/runs/latest").unlink()
    assert done.call(verb, "latest") == ExitCode.DONE, done.err
    assert "2 tasks: 2 done" in done.out
    assert server.accepted == 2


@pytest.mark.parametrize("verb", ["resume", "retry", "status"])
@pytest.mark.parametrize("name", ["latest", "{id}", "rehearsal/runs/{id}"])
def test_a_run_whose_folder_is_gone_is_known_but_cannot_be_read(
    done: VerbBench, verb: str, name: str
) -> None:
    """The ledger names its job file, so the hint is how to run that again."""
    run_id = _run_id(done)
    shutil.rmtree(done.root / "rehearsal/runs" / run_id)
    assert done.call(verb, name.format(id=run_id)) == ExitCode.CANNOT_WRITE
    assert f"{run_id}/job.yaml: cannot read" in done.err
    assert "hint: callsheet run boat.yaml" in done.err


def test_the_manifest_of_a_run_whose_folder_is_gone_cannot_be_read(done: VerbBench) -> None:
    run_id = _run_id(done)
    shutil.rmtree(done.root / "rehearsal/runs" / run_id)
    assert done.call("verify", run_id) == ExitCode.USAGE
    assert done.call("verify", f"rehearsal/runs/{run_id}") == ExitCode.CANNOT_WRITE


@pytest.mark.parametrize("verb", ["resume", "retry", "status", "verify"])
def test_an_unknown_run_is_refused_with_the_newest(done: VerbBench, verb: str) -> None:
    assert done.call(verb, "20990101T000000Z-ffffff") == ExitCode.USAGE
    assert f"hint: the newest is {_run_id(done)}" in done.err
    for job in ("boat.yaml", str(done.root / "boat.yaml")):
        assert done.call(verb, job) == ExitCode.USAGE
        assert "this verb takes a run, not a job file" in done.err


def test_the_beginning_of_an_id_and_a_path_mean_the_run(done: VerbBench) -> None:
    run_id = _run_id(done)
    for name in (run_id[:12], f"rehearsal/runs/{run_id}/manifest.json", "rehearsal/runs/latest"):
        assert done.call("status", name) == ExitCode.DONE, done.err
        assert run_id in done.out


def test_without_ledger_and_folder_the_ledger_is_told(done: VerbBench) -> None:
    """Another run's log tells of submits that no ledger knows; that stands in the way, not the name."""
    for file in (done.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    for verb in ("resume", "retry", "status"):
        assert done.call(verb, "20990101T000000Z-ffffff") == ExitCode.CANNOT_WRITE
        assert "the ledger was lost" in done.err
