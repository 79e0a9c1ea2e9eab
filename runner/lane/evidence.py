"""What the service's list proves about unclear submits. Pure: rows and attempts in, findings out.

The list shows every generation of a key, other projects' too, and echoes no prompt. What it does
echo is the tag that each intent carries, and the seed; both count only where they are believed.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runner.json_value import JsonValue
from runner.ledger.rows import Accepted, AttemptRow, Echoes, Grounds
from runner.ledger.states import Basis, TaskState
from runner.providers.base import Generation
from runner.providers.models import family_name
from runner.providers.provider import Provider

SKEW = 60.0
"""Seconds: the service counts whole ones, and its clocks differ. What was created earlier than this
before an intent is not that intent's."""

DEFAULT_TAG = 0
"""What the tag's field shows where nobody has set it."""

SHOWN_TAGS = 2
"""So many tags of unclear submits, each in one row alone, show that tags come back: one may be chance."""


class Belief(enum.Enum):
    """Whether a field has come back with the value that was sent."""

    UNKNOWN = enum.auto()
    EARNED = enum.auto()
    """An accepted attempt came back with exactly what was sent."""
    SUSPENDED = enum.auto()
    """One came back with something else, within a record's life."""
    SILENT = enum.auto()
    """A finished one came back with nothing."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """For one origin, key and model family."""

    tag: Belief = Belief.UNKNOWN
    seed: Belief = Belief.UNKNOWN

    @classmethod
    def of(cls, model: str, echoes: Mapping[str, tuple[Echoes, Echoes]]) -> Beliefs:
        """By what came back for (the tags, the seeds) of each model of the same family."""
        tags, seeds = Echoes(), Echoes()
        for other, (of_tags, of_seeds) in echoes.items():
            if family_name(other) == family_name(model):
                tags, seeds = tags + of_tags, seeds + of_seeds
        return cls(_belief(tags), _belief(seeds))


def _belief(echoes: Echoes) -> Belief:
    if echoes.other:
        return Belief.SUSPENDED
    if echoes.same:
        return Belief.EARNED
    return Belief.SILENT if echoes.nothing else Belief.UNKNOWN


class Hope(enum.Enum):
    """The values that may still tell whose a row is."""

    NONE = enum.auto()
    BELIEF = enum.auto()
    """The next accepted attempt may earn the belief that decides."""
    ROWS = enum.auto()
    """The service has not decided what a row echoes, or a POST under way may turn out to be its owner."""


class Witness(enum.IntEnum):
    """A row of ours that a scan shows, of the same model and in the same part of the list as the doubt."""

    NONE = 0
    EARLY = 1
    """Accepted before the doubt: the list works."""
    LATE = 2
    """Accepted after the doubt: the list has caught up with it."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """An unresolved attempt with its task's name and request.

    `offset` is how far the service's clock is ahead of ours by what is known now, in seconds.
    """

    attempt: AttemptRow
    name: str
    request: Mapping[str, JsonValue]
    belief: Beliefs
    provider: Provider
    offset: float = 0.0

    @property
    def since(self) -> float:
        """No generation of this attempt was created earlier, by the service's clock in Unix seconds."""
        return created_after(self.attempt.server_time, self.attempt.intended_at, self.offset)

    @property
    def seed(self) -> int | None:
        """The seed as evidence: only on a model that is known to honour it."""
        family = self.provider.catalogue.find(self.attempt.model)
        return self.attempt.seed if family is not None and family.honours_seed else None

    @property
    def may_learn(self) -> bool:
        """Whether the next accepted attempt may earn a belief that tells more."""
        is_tag_open = self.attempt.tag is not None and self.belief.tag is Belief.UNKNOWN
        return is_tag_open or (self.seed is not None and self.belief.seed is Belief.UNKNOWN)

    @property
    def scope(self) -> str:
        """Which part of the service's list shows its generation."""
        listing = self.provider.listing
        return "" if listing is None else listing.scope(self.request)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one scan for one attempt: its generation, or that each row is excluded, or neither."""

    attempt_id: str
    adopted: Generation | None = None
    basis: Basis | None = None
    is_excluded: bool = False
    reason: str = ""
    hope: Hope = Hope.NONE

    def grounds(self) -> Grounds:
        """The values by which the generation was recognised, for the ledger."""
        assert self.adopted is not None
        assert self.basis is not None
        return Grounds.of(
            self.basis,
            tag=self.adopted.final_tag,
            seed=self.adopted.final_seed,
            created_at=self.adopted.created_at,
        )


def created_after(server_time: float, intended_at: float, offset: float) -> float:
    """No generation of an intent was created earlier, by the service's clock in Unix seconds.

    What that clock said at the intent may have come from an edge that is wrong; what is known now of
    it (`offset` ahead of ours), applied to our own clock's time of the intent, has a say as well.
    """
    return min(server_time, intended_at + offset) - SKEW


def match_rows(
    unclear: Sequence[Unclear], candidates: Sequence[Generation], unresolved: Sequence[Unclear]
) -> list[Finding]:
    """One Finding for each of `unclear`. `candidates` are the rows of a full scan that no attempt claims.

    `unresolved` are all attempts that a candidate may belong to: `unclear` itself, POSTs under way,
    and what is held, was written off, or was taken for absent.
    """
    pairs = sum(len(_matching(one, candidates)) == 1 for one in unclear)
    return [_match_one(one, candidates, unresolved, are_tags_shown=pairs >= SHOWN_TAGS) for one in unclear]


def _matching(one: Unclear, rows: Sequence[Generation]) -> list[Generation]:
    """Rows that carry the attempt's tag, where nothing has come back with another."""
    if one.attempt.tag is None or one.belief.tag is Belief.SUSPENDED:
        return []
    return [row for row in rows if row.final_tag == one.attempt.tag]


def excludes(one: Unclear, row: Generation) -> bool:
    """Whether `row` is certainly not this attempt's: only by a believed tag or seed, never by null.

    A believed tag decides alone: a row that carries it and another seed is a riddle, and no proof of
    absence.
    """
    tag = one.attempt.tag
    if one.belief.tag is Belief.EARNED and tag is not None and row.final_tag is not None:
        if row.final_tag == tag:
            return False
        # the field's default beside our seed: the service may have dropped the tag this time
        return row.final_tag != DEFAULT_TAG or one.seed is None or row.final_seed != one.seed
    if one.belief.seed is not Belief.EARNED or one.seed is None or row.final_seed is None:
        return False
    return row.final_seed != one.seed


def differs(one: Unclear, row: Generation) -> bool:
    """Whether `row` is probably another attempt's. This is not proof of absence.

    A seed that differs counts here before it is believed, unless one came back wrong.
    """
    if excludes(one, row):
        return True
    is_told = one.seed is not None and row.final_seed is not None and one.belief.seed is not Belief.SUSPENDED
    return is_told and row.final_seed != one.seed


def contradicts(one: Unclear, row: Generation) -> str:
    """The first echoed field that says something else than was sent; empty where none does.

    It forbids an adoption, and proves nothing more.
    """
    if row.model and family_name(row.model) != family_name(one.attempt.model):
        return f"model is {row.model}"
    if row.created_at is not None and row.created_at < one.since:
        return "it was created before the submit"
    if excludes(one, row):
        return "the tag or the seed differs"
    if one.seed is not None and row.final_seed is not None and row.final_seed != one.seed:
        return f"seed is {row.final_seed}"
    for name in one.provider.compared:
        sent, echoed = one.request.get(name), row.echo.get(name)
        if sent is None or echoed is None or sent in one.provider.chosen_by_service:
            continue
        if sent != echoed:
            return f"{name} is {echoed}"
    return ""


def witness(
    one: Unclear, doubt: int, accepted: Collection[Accepted], rows: Collection[str]
) -> Witness | None:
    """What a scan's rows (their ids) show of the list's own state; None where they leave out an `accepted`
    attempt, so that the scan proves no absence. `doubt` is the order of the doubt in the ledger.

    Only attempts of the same model and part of the list count: it may show no others.
    """
    alike = [each for each in accepted if (each.model, each.scope) == (one.attempt.model, one.scope)]
    if any(each.remote_id not in rows for each in alike):
        return None
    if not alike:
        return Witness.NONE
    return Witness.LATE if any(each.intent > doubt for each in alike) else Witness.EARLY


def _match_one(
    one: Unclear, candidates: Sequence[Generation], unresolved: Sequence[Unclear], *, are_tags_shown: bool
) -> Finding:
    attempt = one.attempt
    possible = [row for row in candidates if not excludes(one, row)]
    if not possible:
        return Finding(attempt.id, is_excluded=True, reason="no generation of this key can be this one")
    if (one.belief.tag is Belief.EARNED and attempt.tag is not None) or (
        are_tags_shown and len(_matching(one, possible)) == 1
    ):
        return _by_tag(one, possible)
    if one.seed is not None and one.belief.seed is not Belief.SUSPENDED:
        return _by_seed(one, possible, unresolved)
    return _unknown(one, possible, f"{len(possible)} generations may be this one; nothing tells which")


def _unknown(one: Unclear, possible: Sequence[Generation], reason: str, *, is_open: bool = False) -> Finding:
    if is_open or any(row.is_undecided for row in possible):
        return Finding(one.attempt.id, reason=reason, hope=Hope.ROWS)
    return Finding(one.attempt.id, reason=reason, hope=Hope.BELIEF if one.may_learn else Hope.NONE)


def _by_tag(one: Unclear, possible: Sequence[Generation]) -> Finding:
    matching = _matching(one, possible)
    if len(matching) == 1:
        conflict = contradicts(one, matching[0])
        if conflict:
            return Finding(one.attempt.id, reason=f"{matching[0].id} carries the tag, but {conflict}")
        return Finding(one.attempt.id, matching[0], Basis.TAG)
    if matching:
        return Finding(one.attempt.id, reason=f"{len(matching)} generations carry the same tag")
    return _unknown(one, possible, f"{len(possible)} generations show no tag yet")


def _by_seed(one: Unclear, possible: Sequence[Generation], unresolved: Sequence[Unclear]) -> Finding:
    """An equal seed proves little, for other projects send seeds too: neither side may have another partner.

    A row that shows another tag is not a partner, even while tags are not believed: that is how rows of
    another project that uses callsheet look (row 51).
    """
    attempt = one.attempt
    partners = [row for row in possible if not differs(one, row)]
    if len(partners) != 1:
        return _unknown(one, possible, f"{len(partners) or len(possible)} generations may be this one")
    row = partners[0]
    # an earlier attempt of this very task is not a rival: the row is the task's either way
    rivals = [
        other.attempt
        for other in unresolved
        if not differs(other, row)
        and (other.attempt.id == attempt.id or other.attempt.identity != attempt.identity)
    ]
    if len(rivals) != 1:
        return _unknown(
            one,
            possible,
            f"{row.id} may belong to {len(rivals)} unclear submits",
            is_open=any(rival.state is TaskState.INTENDED for rival in rivals),
        )
    if row.final_seed is None:
        return _unknown(one, possible, f"{row.id} shows no seed")
    if attempt.tag is not None and row.tag not in (None, attempt.tag):
        return _unknown(one, possible, f"{row.id} has the seed, but another tag")
    if conflict := contradicts(one, row):
        return _unknown(one, possible, f"{row.id} has the seed, but {conflict}")
    return Finding(attempt.id, row, Basis.SEED)
