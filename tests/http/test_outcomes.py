"""The rules themselves: nothing but missing headers proves that a POST was not sent."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from runner.http.answers import Answer
from runner.http.outcomes import ACCEPTANCE, COMMON, FAILURE_RULES, AnswerRule, judge_submit
from runner.http.paid import Failure, FailureKind
from runner.http.verdicts import Reaction, Verdict
from runner.providers.ark.outcomes import SUBMITS as ARK_SUBMITS
from runner.providers.fal.outcomes import SUBMITS as FAL_SUBMITS
from runner.providers.getimg.outcomes import SUBMITS as GETIMG_SUBMITS
from runner.providers.mesh.outcomes import SUBMITS as MESH_SUBMITS

ROOT = Path(__file__).parent.parent.parent
BOTH = pytest.mark.parametrize("rules", [MESH_SUBMITS, GETIMG_SUBMITS], ids=["mesh", "getimg"])


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("begun", [True, None])
def test_no_kind_of_failure_proves_anything_once_headers_may_have_begun(
    kind: FailureKind, begun: bool | None
) -> None:
    outcome = judge_submit(MESH_SUBMITS, Failure(kind, begun, "ConnectTimeout"), wall=0)
    assert (outcome.verdict, outcome.reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)
    assert outcome.evidence.headers_begun is begun


@pytest.mark.parametrize("kind", FailureKind)
def test_without_begun_headers_every_failure_is_not_sent(kind: FailureKind) -> None:
    outcome = judge_submit(MESH_SUBMITS, Failure(kind, False, "ReadTimeout"), wall=0)
    assert outcome.verdict is Verdict.NOT_SENT
    assert (outcome.reaction is Reaction.STOP_CONFIGURATION) == (kind is FailureKind.CERTIFICATE)


@BOTH
def test_every_status_has_a_rule_and_only_a_success_with_an_id_is_accepted(
    rules: tuple[AnswerRule, ...],
) -> None:
    for status, body in itertools.product(range(100, 1000), [b"", b'{"id": "t-1"}']):
        outcome = judge_submit(rules, Answer(status, {}, body), wall=0)
        assert (outcome.verdict is Verdict.ACCEPTED) == (status // 100 == 2 and bool(body))
        assert bool(outcome.remote_id) == (outcome.verdict is Verdict.ACCEPTED)


@pytest.mark.fault(164)
@pytest.mark.parametrize(
    "rules",
    [MESH_SUBMITS, GETIMG_SUBMITS, ARK_SUBMITS, FAL_SUBMITS, ()],
    ids=["mesh", "getimg", "ark", "fal", "a plug-in"],
)
def test_a_refusal_that_names_a_generation_is_never_repeated(rules: tuple[AnswerRule, ...]) -> None:
    error = b'{"code": "QuotaExceeded", "message": "still being prepared: queue, balance, locked"}'
    body = b'{"id": "t-1", "request_id": "req_1", "error": ' + error + b"}"
    for status in range(300, 1000):
        outcome = judge_submit(rules, Answer(status, {}, body), wall=0)
        assert (outcome.verdict, outcome.reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)


def test_a_service_may_name_its_id_elsewhere_and_only_there() -> None:
    """Read at the wrong place, every submit would be unclear, though it was accepted and paid for."""
    for body, found in (
        (b'{"data": {"id": "t-1"}}', "t-1"),
        (b'{"id": "t-1"}', ""),
        (b'{"data": ["id"]}', ""),
    ):
        outcome = judge_submit((), Answer(200, {}, body), wall=0, id_at=("data", "id"))
        assert outcome.remote_id == found
        assert outcome.verdict is (Verdict.ACCEPTED if found else Verdict.AMBIGUOUS)


@BOTH
def test_only_what_a_document_calls_safe_is_rejected(rules: tuple[AnswerRule, ...]) -> None:
    """Without a body that explains, these statuses and no others prove that nothing was bought."""
    rejected = {
        status
        for status in range(100, 1000)
        if judge_submit(rules, Answer(status, {}, b""), wall=0).verdict is Verdict.REJECTED
    }
    assert rejected == {400, 401, 402, 403, 404, 413, 422, 429}


@BOTH
def test_every_rule_can_be_the_first_that_matches(rules: tuple[AnswerRule, ...]) -> None:
    told = set()
    for status in (200, 250, 302, 400, 401, 402, 403, 422, 429, 500, 502, 503, 504, 518, 520):
        for code, provider_code, message in itertools.product(
            ["c", "provider_job_failed", "model_excluded", "quota_exceeded"],
            ["", "provider_timeout", "asset_registration_timeout"],
            ["", "still being prepared"],
        ):
            error = f'{{"code": "{code}", "provider_code": "{provider_code}", "message": "{message}"}}'
            named = f'"id": "{code if status < 250 or status == 520 else ""}", "request_id": "req_1"'
            body = f'{{{named}, "error": {error}}}'.encode()
            told.add(judge_submit(rules, Answer(status, {}, body), wall=0).evidence.reason)
    assert told == {rule.says for rule in (*ACCEPTANCE, *rules, *COMMON)}


def test_every_submit_row_of_the_fault_table_has_a_rule_and_a_test_with_its_number() -> None:
    table = (ROOT / "docs" / "reference" / "faults.md").read_text()
    told = {int(row) for row in re.findall(r"^\| (\d+) \|[^|]*\| submit \|", table, re.MULTILINE)}
    # the others are of single services, whose own tests have them
    rows = told & set(range(1, 85))
    ruled = {rule.row for rule in (*FAILURE_RULES, *ACCEPTANCE, *MESH_SUBMITS, *COMMON)}
    assert rows == set(range(1, 22))
    assert rows - ruled == {12}, "row 12 is the ledger's"
    assert rows - numbers_in_marks() == set()


def numbers_in_marks() -> set[int]:
    """The numbers in all `fault(N)` marks of the tests."""
    found: set[int] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "fault"
            ):
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found
