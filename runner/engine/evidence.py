"""What the service's list proves about ambiguous submits. Pure: rows and attempts in, findings out.

The list shows every generation of a key, other projects' too, and echoes no prompt. What it does
echo is the tag that each intent carries, and the seed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.job.models import family_name, find_family
from runner.job.node import JsonValue
from runner.ledger.rows import AttemptRow
from runner.ledger.states import TaskState
from runner.providers.base import Generation

SKEW = 60.0
"""Seconds: the service counts whole ones, and its clocks differ. What was created earlier than this
before an intent is not that intent's."""

_COMPARED = ("resolution", "ratio", "duration", "frames", "generate_audio", "draft", "service_tier")
"""Fields whose echo contradicts a request that sent another value."""

_RESOLVED = frozenset({"adaptive", -1})
"""Values that the service replaces by one of its own choice: what comes back then proves nothing."""


class Basis(enum.StrEnum):
    """By which evidence a generation is taken for an attempt's own."""

    TAG = "tag"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Unclear:
    """An unresolved attempt with its task's name and request.

    `is_tag_believed` is for its origin, key and model. `offset` is how far the service's clock is
    ahead of ours by what is known now, in seconds.
    """

    attempt: AttemptRow
    name: str
    request: Mapping[str, JsonValue]
    is_tag_believed: bool
    offset: float = 0.0

    @property
    def since(self) -> float:
        """No generation of this attempt was created earlier, by the service's clock in Unix seconds."""
        return created_after(self.attempt.server_time, self.attempt.intended_at, self.offset)

    @property
    def seed(self) -> int | None:
        """The seed as evidence: only on a model that is known to honour it."""
        family = find_family(self.attempt.model)
        return self.attempt.seed if family is not None and family.honours_seed else None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one scan says of one attempt: its generation, or proof that there is none, or neither.

    `may_change`: a POST that is still under way may turn out to be what stands in the way.
    """

    attempt_id: str
    adopted: Generation | None = None
    basis: Basis | None = None
    is_absent: bool = False
    reason: str = ""
    may_change: bool = False


def created_after(server_time: float, intended_at: float, offset: float) -> float:
    """No generation of an intent was created earlier, by the service's clock in Unix seconds.

    What that clock said at the intent may have come from an edge that is wrong; what is known now of
    it (`offset` ahead of ours), applied to our own clock's time of the intent, has a say as well.
    """
    return min(server_time, intended_at + offset) - SKEW


def judge(
    unclear: Sequence[Unclear], candidates: Sequence[Generation], unresolved: Sequence[Unclear]
) -> list[Finding]:
    """One Finding for each of `unclear`. `candidates` are the rows of a full scan that no attempt claims.

    `unresolved` are all attempts that a candidate may belong to: `unclear` itself, POSTs under way,
    and what is held or was written off.
    """
    return [_judge_one(one, candidates, unresolved) for one in unclear]


def excludes(one: Unclear, row: Generation) -> bool:
    """Whether `row` is certainly not this attempt's: by what is non-null and differs, never by null.

    A believed tag decides alone: a row that carries it and another seed is a riddle, and no proof of
    absence.
    """
    tag = one.attempt.tag
    if one.is_tag_believed and tag is not None and row.tag is not None:
        return row.tag != tag
    echoed = row.echo.get("seed")
    return one.seed is not None and isinstance(echoed, int) and echoed != one.seed


def contradicts(one: Unclear, row: Generation) -> str:
    """The first echoed field that says something else than was sent; empty where none does."""
    if row.model and family_name(row.model) != family_name(one.attempt.model):
        return f"model is {row.model}"
    if row.created_at is not None and row.created_at < one.since:
        return "it was created before the submit"
    if excludes(one, row):
        return "the tag or the seed differs"
    echoed = row.echo.get("seed")
    if one.seed is not None and isinstance(echoed, int) and echoed != one.seed:
        return f"seed is {echoed}"
    for name in _COMPARED:
        sent, echoed = one.request.get(name), row.echo.get(name)
        if sent is None or echoed is None or sent in _RESOLVED:
            continue
        if sent != echoed:
            return f"{name} is {echoed}"
    return ""


def _judge_one(one: Unclear, candidates: Sequence[Generation], unresolved: Sequence[Unclear]) -> Finding:
    attempt = one.attempt
    possible = [row for row in candidates if not excludes(one, row)]
    if not possible:
        return Finding(attempt.id, is_absent=True, reason="no generation of this key can be this one")
    if one.is_tag_believed and attempt.tag is not None:
        return _by_tag(one, possible)
    if one.seed is not None:
        return _by_seed(one, possible, unresolved)
    return Finding(attempt.id, reason=f"{len(possible)} generations may be this one; nothing tells which")


def _by_tag(one: Unclear, possible: Sequence[Generation]) -> Finding:
    matching = [row for row in possible if row.tag == one.attempt.tag]
    if len(matching) == 1:
        conflict = contradicts(one, matching[0])
        if conflict:
            return Finding(one.attempt.id, reason=f"{matching[0].id} carries the tag, but {conflict}")
        return Finding(one.attempt.id, matching[0], Basis.TAG)
    if matching:
        return Finding(one.attempt.id, reason=f"{len(matching)} generations carry the same tag")
    return Finding(one.attempt.id, reason=f"{len(possible)} generations show no tag yet")


def _by_seed(one: Unclear, possible: Sequence[Generation], unresolved: Sequence[Unclear]) -> Finding:
    """An equal seed proves little, for other projects send seeds too: neither side may have another partner.

    A row that shows another tag is no partner even while tags are not believed: that is how rows of
    another project that uses callsheet look (row 51).
    """
    attempt = one.attempt
    if len(possible) != 1:
        return Finding(attempt.id, reason=f"{len(possible)} generations may be this one")
    row = possible[0]
    rivals = [other.attempt for other in unresolved if not excludes(other, row)]
    if len(rivals) != 1:
        return Finding(
            attempt.id,
            reason=f"{row.id} may belong to {len(rivals)} unclear submits",
            may_change=any(rival.state is TaskState.INTENDED for rival in rivals),
        )
    if row.echo.get("seed") != one.seed:
        return Finding(attempt.id, reason=f"{row.id} shows no seed")
    if attempt.tag is not None and row.tag not in (None, attempt.tag):
        return Finding(attempt.id, reason=f"{row.id} has the seed, but another tag")
    if conflict := contradicts(one, row):
        return Finding(attempt.id, reason=f"{row.id} has the seed, but {conflict}")
    return Finding(attempt.id, row, Basis.SEED)
