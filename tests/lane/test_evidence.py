"""What rows of a list prove about unclear submits, and what they do not."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lane.evidence import (
    Belief,
    Beliefs,
    Finding,
    Hope,
    Unclear,
    Witness,
    contradicts,
    differs,
    excludes,
    match_rows,
    witness,
)
from runner.ledger.rows import Accepted, Echoes
from runner.ledger.states import Basis, TaskState
from runner.providers.base import Generation, GenerationStatus
from runner.providers.mesh import MESH
from tests.support.unclear_attempts import BELIEVED, DEAF_MODEL, MODEL, NOW, row, unclear


def _one(attempt: Unclear, *rows: Generation, others: Sequence[Unclear] = ()) -> Finding:
    (finding,) = match_rows([attempt], rows, [attempt, *others])
    return finding


def test_a_believed_tag_that_is_equal_is_adopted() -> None:
    finding = _one(unclear(tag=7), row("t-1", tag=7), row("t-2", tag=8))
    assert finding.adopted is not None
    assert (finding.adopted.id, finding.basis) == ("t-1", Basis.TAG)


def test_an_empty_list_says_absent() -> None:
    assert _one(unclear()).is_excluded


@pytest.mark.parametrize("belief", Belief)
def test_a_seed_that_differs_excludes_only_where_seeds_are_believed(belief: Belief) -> None:
    """Three tasks had come back with other seeds, and a fourth was still proved absent by its seed."""
    one = dataclasses.replace(unclear(seed=1), belief=Beliefs(seed=belief))
    assert _one(one, row(tag=None, seed=2)).is_excluded is (belief is Belief.EARNED)


def test_two_tags_of_unclear_submits_in_a_row_each_show_that_tags_come_back() -> None:
    """Every submit of a first run was cut: nothing has earned belief, and one equal number may be chance."""
    first, second = (unclear(name, tag=tag, seed=None, believed=False) for name, tag in (("a", 7), ("b", 8)))
    rows = [row("t-1", tag=7, seed=None), row("t-2", tag=8, seed=None)]
    assert [found.basis for found in match_rows([first, second], rows, [first, second])] == [Basis.TAG] * 2
    assert _one(first, *rows).basis is None


def test_the_default_in_the_tag_s_field_excludes_no_row_with_our_seed() -> None:
    assert not _one(unclear(tag=7, seed=1), row(tag=0, seed=1)).is_excluded
    assert _one(unclear(tag=7, seed=1), row(tag=0, seed=2)).is_excluded


@pytest.mark.fault(58)
@pytest.mark.parametrize("status", [GenerationStatus.PENDING, GenerationStatus.QUEUED, None])
def test_what_is_not_running_yet_proves_nothing(status: GenerationStatus | None) -> None:
    """Neither absence nor an adoption: what it echoes may still change."""
    for other in (row(tag=8, seed=2), row(tag=7, seed=1)):
        finding = _one(unclear(tag=7, seed=1), dataclasses.replace(other, status=status))
        assert (finding.adopted, finding.is_excluded, finding.hope) == (None, False, Hope.ROWS)


@pytest.mark.fault(58)
@pytest.mark.parametrize("seed", [-1, None, True])
def test_a_value_that_says_not_decided_excludes_nothing(seed: int | None) -> None:
    undecided = dataclasses.replace(row(tag=None, seed=None), echo={} if seed is None else {"seed": seed})
    finding = _one(unclear(tag=None, seed=1), undecided)
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize(
    ("echoes", "belief"),
    [
        (Echoes(), Belief.UNKNOWN),
        (Echoes(same=1), Belief.EARNED),
        (Echoes(same=9, other=1), Belief.SUSPENDED),
        (Echoes(nothing=1), Belief.SILENT),
        (Echoes(same=1, nothing=3), Belief.EARNED),
    ],
)
def test_belief_is_earned_for_a_family_and_ended_by_one_other_value(echoes: Echoes, belief: Belief) -> None:
    found = {f"{MODEL}-251215": (echoes, Echoes()), DEAF_MODEL: (Echoes(other=1), Echoes(other=1))}
    assert Beliefs.of(MODEL, found) == Beliefs(belief, Belief.UNKNOWN)


def _accepted(remote_id: str, *, intent: int, model: str = MODEL, scope: str = "default") -> Accepted:
    return Accepted("x", remote_id, model, scope, NOW, NOW, intent)


@pytest.mark.fault(57)
@pytest.mark.parametrize(
    ("accepted", "rows", "shown"),
    [
        ([], {"t-1"}, Witness.NONE),
        ([_accepted("t-1", intent=4)], {"t-1"}, Witness.EARLY),
        ([_accepted("t-1", intent=6)], {"t-1"}, Witness.LATE),
        ([_accepted("t-1", intent=4), _accepted("t-2", intent=6)], {"t-1", "t-2"}, Witness.LATE),
        ([_accepted("t-1", intent=4), _accepted("t-2", intent=6)], {"t-1"}, None),
        ([_accepted("t-1", intent=6)], set(), None),
        ([_accepted("t-1", intent=6, model=DEAF_MODEL)], {"t-1"}, Witness.NONE),
        ([_accepted("t-1", intent=6, scope="flex")], {"t-1"}, Witness.NONE),
        ([_accepted("t-1", intent=4), _accepted("t-2", intent=6, scope="flex")], {"t-1"}, Witness.EARLY),
    ],
)
def test_a_scan_s_witness_is_a_row_of_ours_of_the_same_model_and_part_of_the_list(
    accepted: list[Accepted], rows: set[str], shown: Witness | None
) -> None:
    """The doubt stands at 5 in the ledger: what was intended later is a late witness."""
    assert witness(unclear(), 5, accepted, rows) is shown


def test_a_believed_tag_that_differs_excludes_whatever_the_seed() -> None:
    assert _one(unclear(tag=7, seed=1), row(tag=8, seed=1)).is_excluded


def test_a_tag_that_is_not_believed_excludes_nothing() -> None:
    finding = _one(unclear(tag=7, seed=None, believed=False), row(tag=8, seed=None))
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize("believed", [True, False])
def test_a_null_excludes_nothing(believed: bool) -> None:
    finding = _one(unclear(believed=believed), row(tag=None, seed=None))
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize("model", [f"{MODEL}-250528", "seedance-v1-pro", "somebody/else"])
def test_another_spelling_of_the_model_excludes_nothing(model: str) -> None:
    finding = _one(unclear(tag=None, seed=None), row(tag=None, seed=None, model=model))
    assert not finding.is_excluded


@pytest.mark.parametrize("model", [f"{MODEL}-250528", "seedance-v1-pro", "dreamina-seedance-1-0-pro"])
def test_a_suffixed_model_is_still_the_model(model: str) -> None:
    assert _one(unclear(), row(model=model)).basis is Basis.TAG


@pytest.mark.parametrize(
    ("echo", "request_fields"),
    [
        ({"duration": 5}, {"duration": 4}),
        ({"ratio": "1:1"}, {"ratio": "16:9"}),
        ({"generate_audio": False}, {"generate_audio": True}),
    ],
)
def test_an_equal_tag_with_a_field_that_contradicts_is_neither_adopted_nor_absent(
    echo: dict[str, str | int | bool], request_fields: dict[str, str | int | bool]
) -> None:
    finding = _one(unclear(request=dict(request_fields)), row(**echo))
    assert (finding.adopted, finding.is_excluded) == (None, False)
    assert next(iter(echo)) in finding.reason


def test_an_equal_tag_with_another_seed_is_a_riddle_and_no_proof_of_absence() -> None:
    finding = _one(unclear(tag=7, seed=1), row(tag=7, seed=2))
    assert (finding.adopted, finding.is_excluded) == (None, False)
    assert "seed is 2" in finding.reason


@pytest.mark.parametrize(("sent", "echoed"), [("adaptive", "16:9"), (-1, 9), (None, "16:9"), ("16:9", None)])
def test_what_the_service_chooses_contradicts_nothing(sent: str | int | None, echoed: str | int) -> None:
    fields = {} if sent is None else {"ratio": sent}
    assert contradicts(unclear(request=dict(fields)), row(ratio=echoed)) == ""


def test_two_rows_with_the_tag_are_not_decided_between() -> None:
    finding = _one(unclear(), row("t-1"), row("t-2"))
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize("belief", Belief)
def test_the_only_row_with_the_seed_is_adopted_unless_seeds_came_back_wrong(belief: Belief) -> None:
    one = dataclasses.replace(unclear(), belief=Beliefs(seed=belief))
    finding = _one(one, row(tag=None, seed=1))
    assert finding.basis is (None if belief is Belief.SUSPENDED else Basis.SEED)


@pytest.mark.parametrize("belief", [Belief.EARNED, Belief.UNKNOWN])
def test_of_two_rows_the_one_with_the_seed_is_adopted(belief: Belief) -> None:
    """Before seeds are believed they prove no absence, and still tell two rows apart."""
    one = dataclasses.replace(unclear(), belief=Beliefs(seed=belief))
    assert _one(one, row(tag=None, seed=1), row("t-2", tag=None, seed=2)).basis is Basis.SEED


@pytest.mark.fault(37)
def test_without_belief_two_rows_with_the_seed_are_not_decided_between() -> None:
    finding = _one(unclear(believed=False), row("t-1", tag=None), row("t-2", tag=None))
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.fault(50)
@pytest.mark.parametrize(
    "state", [TaskState.AMBIGUOUS, TaskState.INTENDED, TaskState.HELD, TaskState.WRITTEN_OFF]
)
def test_a_row_that_another_unresolved_attempt_could_be_is_not_adopted_by_its_seed(state: TaskState) -> None:
    """Also one that is held, was given up, or is under way at this moment: nobody waits for those here."""
    rival = unclear("b", tag=8, seed=1, believed=False, state=state)
    finding = _one(unclear(believed=False), row(tag=None, seed=1), others=[rival])
    assert (finding.adopted, finding.is_excluded) == (None, False)
    assert finding.hope is (Hope.ROWS if state is TaskState.INTENDED else Hope.BELIEF)


def test_an_earlier_attempt_of_the_same_task_is_no_rival() -> None:
    """The row is the task's either way."""
    later = unclear(tag=8, believed=False)
    earlier = dataclasses.replace(later, attempt=dataclasses.replace(later.attempt, id="earlier", tag=9))
    assert _one(later, row(tag=None, seed=1), others=[earlier]).basis is Basis.SEED


@pytest.mark.fault(51)
def test_a_row_of_another_project_that_shows_its_own_tag_is_not_adopted_by_its_seed() -> None:
    finding = _one(unclear(tag=7, believed=False), row(tag=8, seed=1))
    assert (finding.adopted, finding.is_excluded) == (None, False)


@pytest.mark.parametrize("believed", [True, False])
def test_a_row_from_before_the_submit_is_not_adopted(believed: bool) -> None:
    """The list is read from the oldest unclear intent on: for a younger one it shows too much."""
    finding = _one(unclear(believed=believed), row(at=NOW - 61))
    assert (finding.adopted, finding.is_excluded) == (None, False)


def test_what_is_known_now_of_the_service_s_clock_corrects_the_time_of_an_intent() -> None:
    """An hour ahead at the intent, two hours behind our own clock by all later answers."""
    attempt = dataclasses.replace(unclear().attempt, server_time=NOW + 3600.0, intended_at=NOW + 7200.0)
    rows = (row("t-1", tag=7, at=NOW + 1),)
    assert _one(Unclear(attempt, "a", {}, BELIEVED, MESH), *rows).adopted is None
    assert _one(Unclear(attempt, "a", {}, BELIEVED, MESH, offset=-7200.0), *rows).adopted == rows[0]


def test_a_seed_proves_nothing_on_a_model_that_ignores_seeds() -> None:
    deaf = unclear(model=DEAF_MODEL, believed=False)
    finding = _one(deaf, row(model=DEAF_MODEL, tag=None, seed=2), row("t-2", model=DEAF_MODEL, tag=None))
    assert (finding.adopted, finding.is_excluded) == (None, False)


# What must hold for any attempts and any list.

tags = st.sampled_from([None, 1, 2, 3])
seeds = st.sampled_from([None, 1, 2])
models = st.sampled_from([MODEL, f"{MODEL}-250528", DEAF_MODEL])
states = st.sampled_from(
    [TaskState.AMBIGUOUS, TaskState.AMBIGUOUS, TaskState.INTENDED, TaskState.HELD, TaskState.WRITTEN_OFF]
)
attempt_lists = st.lists(
    st.builds(
        unclear, tag=tags, seed=seeds, believed=st.booleans(), model=st.sampled_from([MODEL, DEAF_MODEL]),
        state=states,
    ),
    min_size=1,
    max_size=5,
).map(
    lambda ones: [
        dataclasses.replace(
            one, attempt=dataclasses.replace(one.attempt, id=f"a{number}", identity=f"i{number}")
        )
        for number, one in enumerate(ones)
    ]
)  # fmt: skip
row_lists = st.lists(
    st.builds(row, tag=tags, seed=seeds, model=models, at=st.sampled_from([None, NOW - 100, NOW, NOW + 50])),
    max_size=5,
).map(lambda rows: [dataclasses.replace(each, id=f"t-{number}") for number, each in enumerate(rows)])


def _judged(attempts: list[Unclear], rows: list[Generation]) -> list[tuple[Unclear, Finding]]:
    waiting = [one for one in attempts if one.attempt.state is TaskState.AMBIGUOUS]
    return list(zip(waiting, match_rows(waiting, rows, attempts), strict=True))


@given(attempt_lists, row_lists)
def test_nothing_is_absent_while_a_candidate_is_not_excluded(
    attempts: list[Unclear], rows: list[Generation]
) -> None:
    for one, finding in _judged(attempts, rows):
        assert finding.is_excluded is all(excludes(one, each) for each in rows)


@given(attempt_lists, row_lists)
def test_what_is_adopted_shows_the_believed_tag_or_nobody_else_s_seed(
    attempts: list[Unclear], rows: list[Generation]
) -> None:
    for one, finding in _judged(attempts, rows):
        if finding.adopted is None:
            continue
        assert contradicts(one, finding.adopted) == ""
        if finding.basis is Basis.TAG:
            shown = [other for other in attempts if [each.tag for each in rows].count(other.attempt.tag) == 1]
            assert one.belief.tag is Belief.EARNED or len(shown) >= 2
            assert finding.adopted.tag == one.attempt.tag
            assert [each.tag for each in rows].count(one.attempt.tag) == 1
            continue
        assert finding.adopted.echo["seed"] == one.seed
        assert [other for other in attempts if not differs(other, finding.adopted)] == [one]
        assert [each for each in rows if not differs(one, each)] == [finding.adopted]


@given(attempt_lists, row_lists)
def test_no_row_is_given_to_two_attempts_that_carry_different_tags(
    attempts: list[Unclear], rows: list[Generation]
) -> None:
    adopters: dict[str, set[int | None]] = {}
    for one, finding in _judged(attempts, rows):
        if finding.adopted is not None:
            adopters.setdefault(finding.adopted.id, set()).add(one.attempt.tag)
    assert all(len(found) == 1 for found in adopters.values())


@given(attempt_lists, row_lists, st.randoms())
def test_the_order_of_rows_and_attempts_means_nothing(
    attempts: list[Unclear], rows: list[Generation], source: random.Random
) -> None:
    straight = {
        one.attempt.id: (finding.adopted, finding.is_excluded) for one, finding in _judged(attempts, rows)
    }
    source.shuffle(attempts)
    source.shuffle(rows)
    shuffled = {
        one.attempt.id: (finding.adopted, finding.is_excluded) for one, finding in _judged(attempts, rows)
    }
    assert straight == shuffled


@given(attempt_lists, row_lists)
def test_a_row_that_proves_nothing_takes_absence_away(
    attempts: list[Unclear], rows: list[Generation]
) -> None:
    """All nulls: it could be anybody's."""
    for _, finding in _judged(attempts, [*rows, row("t-null", tag=None, seed=None)]):
        assert not finding.is_excluded
