"""Dataclasses to plain JSON and back."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.json_value import JsonValue
from runner.typed_json import members, read, with_texts


class Kind(enum.StrEnum):
    ONE = "one"
    TWO = "two"


@dataclass(frozen=True)
class Part:
    name: str


@dataclass(frozen=True)
class Whole:
    kind: Kind
    part: Part | None
    parts: tuple[Part, ...]
    numbers: Mapping[Kind, int]
    seconds: float | None = None
    anything: JsonValue = None
    free: Mapping[str, JsonValue] = field(default_factory=dict)


PARTS = st.builds(Part, st.text())
PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())
WHOLES = st.builds(
    Whole,
    st.sampled_from(Kind),
    st.none() | PARTS,
    st.lists(PARTS).map(tuple),
    st.dictionaries(st.sampled_from(Kind), st.integers()),
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    PLAIN,
    st.dictionaries(st.text(), PLAIN),
)


@given(WHOLES)
def test_what_is_written_is_read_as_it_was(whole: Whole) -> None:
    assert read(Whole, json.loads(json.dumps(whole, default=members))) == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "three"}, "`kind`: 'three' is not a valid Kind"),
        ({"kind": None}, "`kind`"),
        ({"part": {"name": 1}}, "`part`: `name`: a number"),
        ({"part": {}}, "`part`: no `name`"),
        ({"parts": {}}, "`parts`"),
        ({"numbers": {"one": "1"}}, "`numbers`"),
        ({"seconds": "1"}, "`seconds`"),
    ],
)
def test_what_does_not_belong_is_told_by_its_member(change: dict[str, object], said: str) -> None:
    given = {"kind": "one", "part": None, "parts": [], "numbers": {}, **change}
    with pytest.raises(ValueError, match=said.replace("a number", "")):
        read(Whole, given)


def test_unknown_members_are_left_out_and_missing_ones_have_their_default() -> None:
    found = read(Whole, {"kind": "one", "part": None, "parts": [], "numbers": {}, "more": 1})
    assert found == Whole(Kind.ONE, None, (), {})


def test_each_text_is_changed_and_no_word_of_an_enum() -> None:
    whole = Whole(Kind.ONE, Part("a"), (Part("b"),), {Kind.TWO: 1}, 1.0, ["c", {"d": "e"}], {"f": None})
    assert with_texts(whole, str.upper) == Whole(
        Kind.ONE, Part("A"), (Part("B"),), {Kind.TWO: 1}, 1.0, ("C", {"D": "E"}), {"F": None}
    )


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON: set"):
        json.dumps({1}, default=members)
