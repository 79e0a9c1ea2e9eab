"""What the service's list proves about unclear submits. Pure: rows and attempts in, findings out.

The list shows every generation of a key, other projects' too. What it echoes is the tag that each intent
carries, the seed, or the whole input; each excludes a row only where it is believed.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from runner.json_value import JsonValue
from runner.ledger.rows import Accepted, AttemptRow, Echoes, Grounds
from runner.ledger.states import Basis, TaskState
from runner.providers.base import INPUT_SCHEME, KEY_SCHEME, Generation
from runner.providers.models import family_name
from runner.providers.provider import ListKind, Provider

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
    input: Belief = Belief.UNKNOWN

    @classmethod
    def of(cls, model: str, echoes: Mapping[str, tuple[Echoes, Echoes, Echoes]]) -> Beliefs:
        """By what came back for (the tags, the seeds, the inputs) of each model of the same family."""
        alike = [each for other, each in echoes.items() if family_name(other) == family_name(model)]
        return cls(*(_belief(sum(each, Echoes())) for each in zip(*alike, strict=True))) if alike else cls()


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
    NEVER = -1
    """The list shows only what has ended: a row that is missing may be at work."""


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
    def tag(self) -> int | None:
        """The tag as evidence: one that stood in another field shows up nowhere that is looked at."""
        return self.attempt.tag if self.attempt.tag in self.provider.own_tags else None

    @property
    def may_learn(self) -> bool:
        """Whether the next accepted attempt may earn a belief that tells more."""
        return self.may_learn_of_tags or Belief.UNKNOWN in (
            self.seed is not None and self.belief.seed,
            bool(self.provider.input_fields) and self.belief.input,
        )

    @property
    def may_learn_of_tags(self) -> bool:
        return self.tag is not None and self.belief.tag is Belief.UNKNOWN

    def shows_input(self, row: Generation) -> bool | None:
        """Whether `row` was made from this attempt's input; None where that cannot be told."""
        return repeats_input(self.provider, self.attempt.model, self.request, row)

    def shows_other_texts(self, row: Generation) -> bool:
        """Whether `row` is of another model, or was made from texts that are others however they were put in
        order. A service may trim a text, or take the next length that a model makes, of one request alone.
        """
        sent = {str(path[0]): text for path, text in self.provider.dialect.texts(self.request)}
        back = {name: shown for name in sent if isinstance(shown := row.echo.get(name), str)}
        is_other = any(not _may_be(sent[name], shown) for name, shown in back.items())
        return is_other or not _is_model(row.model, self.attempt.model)

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


def repeats_input(
    provider: Provider, model: str, request: Mapping[str, JsonValue], row: Generation
) -> bool | None:
    """Whether a generation shows the input of a request: the model and each field that came back are equal,
    and all its texts are among them. None where too little came back, or may still change.

    Addresses and values that the service chooses do not count: they may come back as others.
    """
    if row.is_undecided or not provider.input_fields:
        return None
    sent = {name: value for name in provider.input_fields if _is_plain(value := request.get(name))}
    back = {name: value for name in sent if _is_plain(value := row.echo.get(name))}
    chosen = provider.chosen_by_service
    # a service may write the number 5 as a text
    if any(
        value != sent[name] and str(value) != str(sent[name])
        for name, value in back.items()
        if sent[name] not in chosen
    ):
        return False
    if not _is_model(row.model, model):
        return False
    texts = {str(path[0]) for path, _ in provider.dialect.texts(request)}
    return True if texts and texts <= back.keys() else None


_CUT_FROM = 200
"""Characters: a text that comes back so long, or longer, may be the beginning of the one that was sent."""


def _may_be(sent: str, back: str) -> bool:
    """Whether a text may have come back so: in other spaces, letters or forms of characters, or cut."""
    one, other = (" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in (sent, back))
    return one == other or (len(other) >= _CUT_FROM and one.startswith(other.rstrip(". \u2026")))


def _is_model(shown: str, asked: str) -> bool:
    """Whether what a row shows may be the model that was asked for.

    What an id of three parts ends with, as `acme/film-2/text-to-video`, several models have: the whole tells.
    """
    if not shown or shown == asked:
        return True
    return family_name(shown) == family_name(asked) and asked.count("/") < 2


_ADDRESSES = (INPUT_SCHEME, KEY_SCHEME, "data:", "http://", "https://")


def _is_plain(value: JsonValue) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and not value.startswith(_ADDRESSES))


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
    if one.tag is None or one.belief.tag is Belief.SUSPENDED:
        return []
    return [row for row in rows if row.final_tag == one.tag]


def excludes(one: Unclear, row: Generation) -> bool:
    """Whether `row` is certainly not this attempt's: only by a believed tag, input or seed, never by null.

    A believed tag decides alone: a row that carries it and another seed is a riddle, and no proof of
    absence. So does a believed input.
    """
    tag = one.tag
    if one.belief.tag is Belief.EARNED and tag is not None and row.final_tag is not None:
        if row.final_tag == tag:
            return False
        # the field's default beside our seed: the service may have dropped the tag this time
        return row.final_tag != DEFAULT_TAG or one.seed is None or row.final_seed != one.seed
    if one.belief.input is Belief.EARNED and (is_same := one.shows_input(row)) is not None:
        return not is_same and one.shows_other_texts(row)
    if one.belief.seed is not Belief.EARNED or one.seed is None or row.final_seed is None:
        return False
    return row.final_seed != one.seed


def differs(one: Unclear, row: Generation) -> bool:
    """Whether `row` is probably another attempt's. This is not proof of absence.

    A seed or an input that differs counts here before it is believed, unless one came back wrong.
    """
    if excludes(one, row):
        return True
    if one.belief.input is not Belief.SUSPENDED and one.shows_input(row) is False:
        return True
    is_told = one.seed is not None and row.final_seed is not None and one.belief.seed is not Belief.SUSPENDED
    return is_told and row.final_seed != one.seed


def contradicts(one: Unclear, row: Generation) -> str:
    """The first echoed field that says something else than was sent; empty where none does.

    It forbids an adoption, and proves nothing more.
    """
    if not _is_model(row.model, one.attempt.model):
        return f"model is {row.model}"
    if row.created_at is not None and row.created_at < one.since:
        return "it was created before the submit"
    if excludes(one, row):
        return "the tag, the input or the seed differs"
    if one.shows_input(row) is False:
        return "it was made from another input"
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
    listing = one.provider.listing
    if listing is not None and listing.kind is ListKind.HISTORY:
        return Witness.NEVER
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
    if (one.belief.tag is Belief.EARNED and one.tag is not None) or (
        are_tags_shown and len(_matching(one, possible)) == 1
    ):
        return _by_tag(one, possible)
    if one.provider.input_fields and one.belief.input is not Belief.SUSPENDED:
        return _by_value(_INPUT, one, possible, unresolved)
    if one.seed is not None and one.belief.seed is not Belief.SUSPENDED:
        return _by_value(_SEED, one, possible, unresolved)
    return _unknown(one, possible, f"{len(possible)} generations may be this one; nothing tells which")


def _unknown(
    one: Unclear,
    possible: Sequence[Generation],
    reason: str,
    *,
    is_open: bool = False,
    may_learn: bool | None = None,
) -> Finding:
    """`is_open`: a POST under way may be its owner; `may_learn`: a belief that is earned later may help."""
    if is_open or any(row.is_undecided for row in possible):
        return Finding(one.attempt.id, reason=reason, hope=Hope.ROWS)
    may_learn = one.may_learn if may_learn is None else may_learn
    return Finding(one.attempt.id, reason=reason, hope=Hope.BELIEF if may_learn else Hope.NONE)


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


@dataclass(frozen=True, slots=True)
class _Value:
    """What rows are told apart by where no tag is believed. `is_shown` is asked of a row that does not
    differ.
    """

    word: str
    basis: Basis
    is_shown: Callable[[Unclear, Generation], bool]


_SEED = _Value("seed", Basis.SEED, lambda one, row: row.final_seed is not None)
_INPUT = _Value("input", Basis.INPUT, lambda one, row: one.shows_input(row) is True)


def _by_value(
    value: _Value, one: Unclear, possible: Sequence[Generation], unresolved: Sequence[Unclear]
) -> Finding:
    """An equal value proves little, for other projects send such values too: neither side may have another
    partner.

    A row that shows another tag is not a partner, even while tags are not believed: that is how rows of
    another project that uses callsheet look (row 51).
    """
    attempt = one.attempt
    partners = [row for row in possible if not differs(one, row)]
    if len(partners) != 1:
        return _unknown(one, possible, f"{len(partners) or len(possible)} generations may be this one")
    row = partners[0]
    open_rivals = rivals(one, row, unresolved)
    if open_rivals:
        return _unknown(
            one,
            possible,
            f"{row.id} may belong to {len(open_rivals) + 1} unclear submits",
            is_open=any(rival.state is TaskState.INTENDED for rival in open_rivals),
            # equal inputs stay equal, however much they are believed
            may_learn=one.may_learn_of_tags if value is _INPUT else None,
        )
    if not value.is_shown(one, row):
        return _unknown(one, possible, f"{row.id} shows no {value.word}")
    if one.tag is not None and row.tag not in (None, one.tag):
        return _unknown(one, possible, f"{row.id} has the {value.word}, but another tag")
    if conflict := contradicts(one, row):
        return _unknown(one, possible, f"{row.id} has the {value.word}, but {conflict}")
    return Finding(attempt.id, row, value.basis)


def rivals(one: Unclear, row: Generation, unresolved: Sequence[Unclear]) -> list[AttemptRow]:
    """The attempts of other tasks that `row` may belong to as well.

    An earlier attempt of this very task is none: the row is the task's either way.
    """
    return [
        other.attempt
        for other in unresolved
        if other.attempt.identity != one.attempt.identity and not differs(other, row)
    ]
