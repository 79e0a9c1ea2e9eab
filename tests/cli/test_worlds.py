"""A rehearsal is found without --sandbox by whoever only looks, and each screen says which world it shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.project import Project
from runner.sandbox import SandboxServer
from tests.support.verb_bench import VerbBench

LOOKERS = ("status", "report", "verify")


@pytest.fixture
def rehearsed(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> VerbBench:
    """A job that was rehearsed with --sandbox; without an option its service would be the real one."""
    monkeypatch.delenv("MESHAPI_BASE_URL")
    assert verbs.call("run", "boat.yaml", "--sandbox") == ExitCode.DONE, verbs.err
    return verbs


@pytest.fixture
def both(rehearsed: VerbBench) -> VerbBench:
    """The same once more as if it had been made for real: the state of the rehearsal, in the project."""
    for name in (".callsheet", "runs", "out"):
        shutil.copytree(
            rehearsed.root / "rehearsal" / name,
            rehearsed.root / name,
            symlinks=True,
            dirs_exist_ok=True,
        )
    return rehearsed


def _run_id(verbs: VerbBench) -> str:
    return (verbs.root / "rehearsal/runs/latest").readlink().name


def _project(verbs: VerbBench) -> Project:
    root = verbs.root.resolve()
    return Project(root, root)


@pytest.mark.parametrize("verb", LOOKERS)
@pytest.mark.parametrize("form", ["{id}", "{beginning}", "rehearsal/runs/{id}", "rehearsal/runs/latest"])
def test_a_rehearsal_is_found_by_id_and_by_path(rehearsed: VerbBench, verb: str, form: str) -> None:
    run = _run_id(rehearsed)
    name = form.format(id=run, beginning=run[:-3])
    assert rehearsed.call(verb, name) == ExitCode.DONE, rehearsed.err
    assert "real" not in rehearsed.out


def test_latest_is_never_a_rehearsal_unasked(rehearsed: VerbBench) -> None:
    assert rehearsed.call("status") == ExitCode.USAGE
    assert "there are rehearsals: give --sandbox" in rehearsed.err


def test_status_and_show_say_which_world_it_is(rehearsed: VerbBench, both: VerbBench) -> None:
    run = _run_id(both)
    assert both.call("status", f"rehearsal/runs/{run}") == ExitCode.DONE, both.err
    assert f"run {run} of boat.yaml, a rehearsal at sandbox: finished" in both.out
    assert both.call("show", "rehearsal/out/s1.mp4") == ExitCode.DONE, both.err
    assert "a rehearsal; found by" in both.out
    assert "--sandbox" in both.err, "the next command leads to the same world"
    assert both.call("show", "out/s1.mp4") == ExitCode.DONE, both.err
    assert "for real; found by" in both.out


def test_a_name_that_both_worlds_know_is_the_real_one_and_the_other_is_told(both: VerbBench) -> None:
    assert both.call("show", "s1") == ExitCode.DONE
    assert "for real; found by name" in both.out
    (line,) = re.findall(r"a rehearsal is known by name too: callsheet (.*)", both.err)
    assert both.call(*line.split()) == ExitCode.DONE
    assert "a rehearsal; found by" in both.out


def test_an_id_that_both_worlds_have_is_the_real_one(both: VerbBench) -> None:
    run = _run_id(both)
    assert both.call("report", run) == ExitCode.DONE, both.err
    assert both.out.startswith(f"runs/{run}/")
    assert both.call("report", run, "--sandbox") == ExitCode.DONE, both.err
    assert both.out.startswith(f"rehearsal/runs/{run}/")


def test_an_ambiguous_beginning_lists_the_runs_with_their_world(both: VerbBench) -> None:
    run = _run_id(both)
    other = both.root / "runs" / "20200101T000000Z-aaaaaa"
    shutil.copytree(both.root / "runs" / run, other)
    for verb in LOOKERS:
        assert both.call(verb, "20") == ExitCode.USAGE
        assert f"{run} (for real)" in both.err
        assert f"{run} (a rehearsal)" in both.err


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_what_submits_goes_where_the_options_lead_alone(
    rehearsed: VerbBench, server: SandboxServer, verb: str
) -> None:
    run = _run_id(rehearsed)
    assert rehearsed.call(verb, run) == ExitCode.USAGE
    assert (
        f"run {run} is a rehearsal, made at sandbox; hint: callsheet {verb} {run} --sandbox" in rehearsed.err
    )
    assert rehearsed.call(verb, run, "--sandbox") == ExitCode.DONE, rehearsed.err


@pytest.mark.parametrize("where", [".", "jobs", "rehearsal/out"])
def test_every_path_that_is_printed_exists(
    rehearsed: VerbBench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(rehearsed.root / where)
    run, job = _run_id(rehearsed), str(rehearsed.root / "boat.yaml")
    asked = [
        ("run", job, "--sandbox"),
        ("run", job, "--sandbox", "--again", "s1"),
        ("status", run),
        ("status", "--sandbox"),
        ("show", "s1"),
        ("show", "s2", "--sandbox"),
        ("report", run),
        ("verify", run),
        ("diff", run, run),
        ("collect", "--sandbox"),
        ("reconcile", "--sandbox"),
        ("spend", "--sandbox"),
    ]
    for arguments in asked:
        assert rehearsed.call(*arguments) == ExitCode.DONE, rehearsed.err
        for path in _paths(rehearsed.out + rehearsed.err):
            assert Path(path).exists(), (arguments, path)


def _paths(text: str) -> list[str]:
    """Words that look like files; the fields of events and the names of models are none."""
    words = (word.lstrip("(").rstrip(",;:)'") for word in text.split())
    looks_like = re.compile(r"(?!byteplus/)[^=:]*(?:/[^=:]*|\.(?:mp4|yaml|json|html))")
    return [word for word in words if looks_like.fullmatch(word)]
