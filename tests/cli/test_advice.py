"""What helps after failures, told at the end of a run; the commands are typed as they are printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from runner.cli.closing.advice import ADVICE, names_words, trouble_lines
from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.providers import BUILT_IN
from runner.providers.failures import Cause, cause_of
from runner.providers.provider import Provider
from runner.run.troubles import Trouble
from runner.sandbox import Fault, Kind, Where
from tests.support.verb_bench import JOB, VerbBench

FAILED, UNKNOWN = TaskState.FAILED, Cause.UNKNOWN


def trouble(name: str, code: str = "busy", message: str = "try later") -> Trouble:
    return Trouble(name, name * 8, FAILED, code, message, UNKNOWN)


def next_commands(verbs: VerbBench) -> list[str]:
    return re.findall(r"^next: (callsheet .*?)(?:    .*)?$", verbs.err, re.MULTILINE)


def fails(verbs: VerbBench, *codes: str) -> None:
    """The next submits are accepted and fail with these codes."""
    for number, code in enumerate(codes):
        verbs.fault(Kind.OUTCOME, after=number, times=1, text="failed", code=code, message=f"it was {code}")


def test_each_cause_has_one_advice() -> None:
    assert ADVICE.keys() == set(Cause)


@pytest.mark.parametrize("provider", BUILT_IN.values(), ids=BUILT_IN)
def test_the_codes_of_a_service_are_its_data(provider: Provider) -> None:
    causes = provider.causes
    assert all(code == code.lower() for code in causes), "codes are compared in lower case"
    policy = next(code for code, cause in causes.items() if cause is Cause.PROMPT).rstrip("*")
    assert cause_of(causes, policy.upper()) is Cause.PROMPT
    assert cause_of(causes, "OutputVideoSensitiveContentDetected.PolicyViolation") is Cause.RESULT
    assert cause_of(causes, "InputImageSensitiveContentDetected.DeepFake") is Cause.PROMPT
    assert cause_of(causes, "never_heard_of") is None


def test_what_failed_alike_is_one_line_the_greatest_group_first() -> None:
    lines = list(trouble_lines([trouble("a", "x"), *(trouble(f"b{number}") for number in range(7))]))
    assert lines == [
        "7 failed: busy: try later (b0, b1, b2, b3, b4 and 2 more)",
        "1 failed: x: try later (a)",
    ]


def test_messages_that_differ_by_an_id_are_one_group() -> None:
    (line,) = trouble_lines([trouble(f"t{number}", message=f"id {number}") for number in range(5)])
    assert line == "5 failed: busy: id 0 (t0, t1, t2, t3 and t4)"


def test_of_many_reasons_the_first_are_told() -> None:
    lines = list(trouble_lines([trouble("t", code=f"c{number}") for number in range(12)]))
    assert len(lines) == 9
    assert lines[-1] == "and 4 more reasons; hint: `callsheet status` shows each task"


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_names_are_listed_as_people_do(names: list[str], words: str) -> None:
    assert names_words(names) == words


def test_a_refused_prompt_is_to_be_changed_and_not_retried(verbs: VerbBench) -> None:
    verbs.write(JOB.replace("A paper boat", "'A paper boat [violate]'"))
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert (
        "2 failed: content_policy_violation: the prompt violates the content policy (s1 and s2)" in verbs.err
    )
    assert "callsheet run boat.yaml    after you change the prompt or input" in verbs.err
    assert "callsheet retry" not in verbs.err
    (command,) = next_commands(verbs)
    assert verbs.call("status") == ExitCode.DONE
    assert list(next_commands(verbs)) == [command]
    verbs.write(JOB)
    assert verbs.call(*shlex.split(command)[1:]) == 0
    assert verbs.server.accepted == 4


def test_a_passing_fault_is_to_be_retried(verbs: VerbBench) -> None:
    fails(verbs, "internal_error", "InternalServiceError")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    (command,) = next_commands(verbs)
    assert command == "callsheet retry"
    assert "submits the failed tasks once more: such a fault passes" in verbs.err
    assert verbs.call(*shlex.split(command)[1:]) == 0
    assert verbs.states() == ["done", "done"]


def test_what_is_retried_is_told_apart_from_what_is_changed(verbs: VerbBench) -> None:
    """A retry of all would buy the refused prompt's refusal once more."""
    fails(verbs, "content_policy_violation", "upstream_error")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    run, retry = sorted(next_commands(verbs), key=lambda command: "retry" in command)
    assert run == "callsheet run boat.yaml"
    assert re.fullmatch(r"callsheet retry --only=s[12]", retry)
    assert verbs.call(*shlex.split(retry)[1:]) == ExitCode.TASK_FAILED
    assert sorted(verbs.states()) == ["done", "failed"]
    assert verbs.server.accepted == 3


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (400, "invalid_request", "after you mend the request as the service says"),
        (404, "", "after you mend the request as the service says"),
        (403, "model_excluded", "after you name another model, or get access to this one"),
    ],
)
def test_a_refused_request_is_to_be_mended(verbs: VerbBench, status: int, code: str, advice: str) -> None:
    verbs.fault(Kind.ANSWER, status=status, code=code, message="no", times=2)
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert f"2 failed: {code or status}: no" in verbs.err
    assert advice in verbs.err


@pytest.mark.parametrize(
    ("budget", "fault", "exit_code", "told"),
    [
        ("{max_tasks: 1}", None, ExitCode.REFUSED, "after what refused it is mended"),
        ("{}", {"status": 402, "code": "insufficient_credits"}, ExitCode.OUT_OF_MONEY, "after topping up"),
    ],
)
def test_an_end_of_the_money_says_how_it_goes_on(
    verbs: VerbBench, budget: str, fault: dict[str, object] | None, exit_code: ExitCode, told: str
) -> None:
    verbs.write(f"{JOB}budget: {budget}\n")
    if fault is not None:
        verbs.fault(Kind.ANSWER, **fault)
    assert verbs.call("run", "boat.yaml") == exit_code
    assert told in verbs.err
    assert "cost:     " in verbs.out


def test_a_held_task_is_named_with_its_reason(verbs: VerbBench) -> None:
    verbs.write(JOB.replace("run: {", "run: {on_ambiguous: hold, settle_alone: 0s, "))
    verbs.fault(Kind.CUT, times=1)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert re.search(r"1 held: .+ \(s[12]\)", verbs.err)
    assert "callsheet reconcile" in next_commands(verbs)


def test_the_cost_is_what_was_bought_now_and_in_all(verbs: VerbBench) -> None:
    verbs.write(f"{JOB}price: {{usd_per_task: 1.25}}\n")
    assert verbs.call("run", "boat.yaml") == 0
    assert re.search(
        r"cost:     free, a rehearsal; for real USD 2\.50 now, 2\.50 in all, [\d.]+ s", verbs.out
    )
    assert verbs.call("run", "boat.yaml", "--again", "s1") == 0
    assert "USD 1.25 now, 3.75 in all" in verbs.out
    assert verbs.call("run", "boat.yaml") == 0
    assert "USD 0.00 now, 3.75 in all" in verbs.out


def test_programs_get_each_failed_task_and_the_page(verbs: VerbBench) -> None:
    verbs.server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", code="internal_error", message="oops")
    )
    assert verbs.call("run", "boat.yaml", "--output-format", "json") == 1
    summary = json.loads(verbs.out)
    (failed,) = summary["failed"]
    assert re.fullmatch(r"s[12]", failed.pop("task"))
    assert re.fullmatch(r"[0-9a-f]{64}", failed.pop("identity"))
    assert failed == {"state": "failed", "code": "internal_error", "message": "oops", "cause": "passing"}
    assert summary["held"] == []
    assert Path(summary["report"]).is_file()
    assert Path(summary["manifest"]).is_file()
    assert summary["usd_now"] is None, "of two tasks of unknown price"
    assert summary["seconds"] > 0
