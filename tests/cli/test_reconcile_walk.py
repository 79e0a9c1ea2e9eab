"""`callsheet reconcile` on a terminal: one sitting over all that is unclear or held."""

from __future__ import annotations

import re
import shlex

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxServer
from tests.support.terminal import CTRL_C, CTRL_D, Shown, on_terminal
from tests.support.verb_bench import VerbBench


@pytest.fixture
def held(verbs: VerbBench) -> VerbBench:
    """Two held tasks: the service answered 500 twice and accepted nothing."""
    verbs.fault(Kind.ANSWER, status=500, times=2)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert verbs.states() == ["held", "held"]
    return verbs


def _sit(verbs: VerbBench, *answers: str, columns: int = 80) -> Shown:
    return on_terminal("reconcile", cwd=verbs.root, answers=answers, columns=columns)


def test_each_is_shown_with_its_evidence_and_settled_by_a_word(
    held: VerbBench, server: SandboxServer
) -> None:
    seen = _sit(held, "again", "write-off")
    assert seen.exit_code == ExitCode.DONE, seen.text
    for words in (
        "1 of 2  held  s1",
        "2 of 2  held  s2",
        "A paper boat",
        "500",
        "2 settled, 0 unclear tasks left",
    ):
        assert words in seen.text
    assert "next: callsheet run boat.yaml" in seen.text
    assert held.unclear()[0]["state"] == "again", "it still counts against budgets"
    assert held.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert (server.accepted, held.states()) == (1, ["done", "written_off"])


def test_enter_help_and_half_an_answer_decide_nothing(held: VerbBench) -> None:
    before = held.unclear()
    seen = _sit(held, "", "?", "a", "y", "adopt", "again now", "skip", "q")
    assert seen.exit_code == ExitCode.PERSON_NEEDED, seen.text
    assert "Look at the service's own list" in seen.text
    assert "`y` is not an answer" in seen.text
    assert "0 settled, 2 unclear tasks left" in seen.text
    assert held.unclear() == before


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D, "q"])
def test_whoever_leaves_keeps_what_was_settled(held: VerbBench, key: str) -> None:
    seen = _sit(held, "write-off", key)
    assert seen.exit_code == ExitCode.PERSON_NEEDED, seen.text
    assert "1 settled, 1 unclear task left" in seen.text
    assert "Traceback" not in seen.text
    assert [one["task"] for one in held.unclear()] == ["s2"]


def test_an_id_that_the_service_does_not_know_is_told_and_the_question_comes_again(held: VerbBench) -> None:
    seen = _sit(held, "adopt t-nothing", "skip", "q")
    assert "t-nothing: cannot be looked up" in seen.text
    assert len(held.unclear()) == 2


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_it_fits_the_terminal(held: VerbBench, columns: int) -> None:
    seen = _sit(held, "?", "q", columns=columns)
    told = [line for line in seen.text.splitlines() if not re.match("what became|next:", line)]
    assert max(map(len, told)) <= columns, seen.text


def test_without_a_terminal_each_command_that_is_listed_works(held: VerbBench) -> None:
    assert held.call("reconcile") == ExitCode.PERSON_NEEDED
    lines = re.findall(r"callsheet (reconcile .*?) {4,}", held.out)
    assert len(lines) == 6
    for line, found in zip(lines[1::3][:1] + lines[2::3][1:], ("s1", "s2"), strict=True):
        assert held.call(*shlex.split(line)) == ExitCode.DONE, held.err
        assert f"{found}: " in held.out
    assert held.call("reconcile") == ExitCode.DONE
    (line,) = re.findall(r"callsheet (reconcile .*--not-billed) {4,}", held.out)
    assert held.call(*shlex.split(line)) == ExitCode.DONE, held.err


def test_two_tasks_of_one_name_are_told_apart_by_their_attempts(held: VerbBench) -> None:
    (held.root / "ship.yaml").write_text(
        (held.root / "boat.yaml").read_text().replace("A paper boat", "A ship").replace("out/", "ships/")
    )
    held.fault(Kind.ANSWER, status=500, times=2)
    assert held.call("run", "ship.yaml") == ExitCode.PERSON_NEEDED
    held.call("reconcile")
    lines = re.findall(r"callsheet (reconcile .*? --write-off) {4,}", held.out)
    assert len(lines) == len(set(lines)) == 4
    for line in lines:
        assert held.call(*shlex.split(line)) == ExitCode.DONE, held.err
    assert held.unclear() == []
