"""Rows that show the input they were made from: what they prove about unclear submits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from runner.json_value import JsonValue
from runner.lane.evidence import Belief, Beliefs, Finding, Hope, Unclear, match_rows, repeats_input
from runner.ledger.rows import Echoes
from runner.ledger.states import Basis, TaskState
from runner.providers.base import Generation, GenerationStatus
from runner.providers.provider import Echo
from tests.support.echoing_service import ECHOING
from tests.support.unclear_attempts import NOW, unclear

MODEL = "acme/film-2"
ASKED: dict[str, JsonValue] = {"model": MODEL, "prompt": "a teapot", "duration": 5, "seed": None}


def one_of(
    name: str = "a",
    *,
    belief: Belief = Belief.UNKNOWN,
    state: TaskState = TaskState.AMBIGUOUS,
    **changes: JsonValue,
) -> Unclear:
    made = unclear(
        name, tag=None, seed=None, believed=False, model=MODEL, state=state, request=ASKED | changes
    )
    return dataclasses.replace(made, provider=ECHOING, belief=Beliefs(input=belief))


def row_of(
    remote_id: str = "p-1", status: GenerationStatus | None = GenerationStatus.RUNNING, **changes: JsonValue
) -> Generation:
    """A row that shows the input of `one_of`, but for what is changed; None takes a field away."""
    echo = {name: value for name, value in (ASKED | changes).items() if name != "model" and value is not None}
    return Generation(remote_id, status, "running", model=MODEL, created_at=NOW + 1, echo=echo)


def found(one: Unclear, *rows: Generation, others: Sequence[Unclear] = ()) -> Finding:
    return match_rows([one], rows, [one, *others])[0]


def test_an_equal_input_without_a_rival_is_adopted_before_it_is_believed() -> None:
    finding = found(one_of(), row_of("p-1"), row_of("p-2", prompt="a kettle"))
    assert finding.adopted is not None
    assert (finding.adopted.id, finding.basis) == ("p-1", Basis.INPUT)


@pytest.mark.fault(104)
@pytest.mark.parametrize("state", [TaskState.AMBIGUOUS, TaskState.HELD, TaskState.INTENDED])
def test_two_equal_submits_in_doubt_are_nobody_s_rows(state: TaskState) -> None:
    """Which of the two was accepted, no input can tell. One under way may turn out to be the owner."""
    finding = found(one_of("a"), row_of(), others=[one_of("b", state=state)])
    hope = Hope.ROWS if state is TaskState.INTENDED else Hope.NONE
    assert (finding.adopted, finding.is_excluded, finding.hope) == (None, False, hope)


def test_a_submit_with_another_input_is_no_rival() -> None:
    assert found(one_of("a"), row_of(), others=[one_of("b", prompt="a kettle")]).basis is Basis.INPUT


def test_two_equal_rows_are_nobody_s() -> None:
    assert found(one_of(), row_of("p-1"), row_of("p-2")).adopted is None


@pytest.mark.parametrize("belief", Belief)
def test_another_input_excludes_a_row_only_where_inputs_are_believed(belief: Belief) -> None:
    finding = found(one_of(belief=belief), row_of(prompt="a kettle"))
    assert finding.is_excluded is (belief is Belief.EARNED)
    assert finding.adopted is None


def test_a_service_that_has_changed_inputs_is_not_gone_by() -> None:
    finding = found(one_of(belief=Belief.SUSPENDED), row_of())
    assert (finding.adopted, finding.is_excluded, finding.hope) == (None, False, Hope.NONE)


@pytest.mark.parametrize(
    "row",
    [
        row_of(status=GenerationStatus.QUEUED),
        row_of(status=None),
        dataclasses.replace(row_of(), echo={}),
        row_of(prompt=None),
    ],
    ids=["queued", "unknown status", "data removed", "no prompt"],
)
@pytest.mark.parametrize("belief", [Belief.UNKNOWN, Belief.EARNED])
def test_an_input_that_did_not_come_back_proves_nothing(row: Generation, belief: Belief) -> None:
    finding = found(one_of(belief=belief), row)
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize(
    ("sent", "back", "is_same"),
    [
        ({}, {}, True),
        ({"duration": 5}, {"duration": "5"}, True),
        ({"duration": 5}, {"duration": 5.0}, True),
        ({"duration": 5}, {"duration": 6}, False),
        ({"duration": None}, {"duration": 6}, True),
        ({"duration": -1}, {"duration": 7}, True),
        ({"image": "sha256:" + "a" * 64}, {"image": "https://files.example/1.png"}, True),
        ({"image": "https://a.example/1.png"}, {"image": "https://b.example/2.png"}, True),
        ({"image": "data:image/png;base64,AA=="}, {"image": "a file"}, True),
        ({"prompt": "a  teapot"}, {}, False),
        ({"prompt": ""}, {"prompt": ""}, True),
    ],
)
def test_plain_values_alone_are_compared(
    sent: dict[str, JsonValue], back: dict[str, JsonValue], is_same: bool
) -> None:
    """Addresses come back rewritten, and what the service chooses comes back as it chose."""
    assert repeats_input(ECHOING, MODEL, ASKED | sent, row_of(**back)) is is_same


@pytest.mark.parametrize(
    ("asked", "shown", "is_same"),
    [
        (MODEL, "acme/film-3", False),
        (MODEL, "film-2", True),
        (MODEL, "", True),
        ("acme/film-2/text-to-video", "acme/film-3/text-to-video", False),
        ("acme/film-2/text-to-video", "acme/film-2/text-to-video", True),
    ],
)
def test_another_model_is_another_input(asked: str, shown: str, is_same: bool) -> None:
    assert repeats_input(ECHOING, asked, ASKED, dataclasses.replace(row_of(), model=shown)) is is_same


def test_a_provider_without_such_echoes_goes_by_none() -> None:
    silent = dataclasses.replace(ECHOING, echoes={"prompt": Echo.NOTED})
    assert repeats_input(silent, MODEL, ASKED, row_of()) is None


def test_belief_in_inputs_is_counted_beside_that_in_tags_and_seeds() -> None:
    counted: Mapping[str, tuple[Echoes, Echoes, Echoes]] = {
        MODEL: (Echoes(), Echoes(other=1), Echoes(same=1))
    }
    assert Beliefs.of(MODEL, counted) == Beliefs(Belief.UNKNOWN, Belief.SUSPENDED, Belief.EARNED)
