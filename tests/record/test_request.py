"""What changed between two requests, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.json_value import JsonValue
from runner.record.request import changes, differences

LONG = (
    "A teapot made of porcelain stands by a {} at dawn, steam rises slowly from its spout, 35mm, soft light"
)


def text(words: str) -> dict[str, JsonValue]:
    return {"content": [{"type": "text", "text": words}]}


@pytest.mark.parametrize(
    ("now", "was", "told"),
    [
        ({"duration": 5}, {"duration": 4}, ["request.duration is 5, was 4"]),
        ({"ratio": "1:1"}, {}, ["request.ratio is 1:1, was not set"]),
        ({}, {"draft": True}, ["request.draft is not set, was true"]),
        (text("A cat"), text("A dog"), ['content[0].text is "A cat", was "A dog"']),
        (
            text(LONG.format("river")),
            text(LONG.format("puddle")),
            [
                'content[0].text is "...ain stands by a river at dawn, steam rises slowly fr...",'
                ' was "...ain stands by a puddle at dawn, steam rises slowly f..."'
            ],
        ),
        (
            {"content": [{"type": "text", "text": "A"}, {"type": "image_url", "role": "last_frame"}]},
            {"content": [{"type": "text", "text": "A"}, {"type": "image_url", "role": "first_frame"}]},
            ["content[1].role is last_frame, was first_frame"],
        ),
        (
            {"content": [{"type": "text", "text": "A"}]},
            {"content": []},
            ['content[0] is {"type": "text", "text": "A"}, was not set'],
        ),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, ["request.a is 1, was 2", "request.b is 1, was 2"]),
    ],
)
def test_the_place_and_the_differing_part_are_named(
    now: dict[str, JsonValue], was: dict[str, JsonValue], told: list[str]
) -> None:
    assert list(differences(now, was)) == told


@pytest.mark.security(9)
def test_a_signature_that_changed_is_not_shown() -> None:
    url = "https://cdn.example/a.png?signature="
    (told,) = differences({"content": [{"url": f"{url}one"}]}, {"content": [{"url": f"{url}two"}]})
    assert told == 'content[0].url differs in the part of "https://cdn.example/a.png" that is not shown'


@given(st.text(max_size=200), st.text(max_size=200))
def test_two_texts_are_told_apart_shortly_or_are_one(now: str, was: str) -> None:
    told = list(differences(text(now), text(was)))
    assert len(told) == (now != was)
    assert all(len(each) < 250 for each in told)


@pytest.mark.parametrize(
    ("now", "was", "told"),
    [
        ({"duration": 5}, {"duration": 4}, ["request.duration is 5, was 4"]),
        (text("A tin boat at dawn"), text("A paper boat at dawn"), ["content[0].text: paper -> tin"]),
        (
            text("Fog. A boat leaves the harbour"),
            text("A boat leaves the harbour, gulls overhead"),
            ["content[0].text: + Fog., harbour, gulls overhead -> harbour"],
        ),
        (text("A boat at dawn, fog"), text("A boat at dawn"), ["content[0].text: dawn -> dawn, fog"]),
        (text("A boat, its sails down"), text("A red boat, its sails down"), ["content[0].text: - red"]),
        (text("cat"), text("dog"), ["content[0].text is cat, was dog"]),
        (
            text(" ".join(f"new{number} same" for number in range(6))),
            text(" ".join(f"old{number} same" for number in range(6))),
            [
                "content[0].text: old0 -> new0, old1 -> new1, old2 -> new2, old3 -> new3, ...",
            ],
        ),
        (
            text("a boat " + "very " * 30 + "slowly"),
            text("a boat slowly and surely"),
            ["content[0].text: + very very very very very very very ve..., - and surely"],
        ),
    ],
)
def test_an_edit_is_told_by_the_words_that_went_and_came(
    now: dict[str, JsonValue], was: dict[str, JsonValue], told: list[str]
) -> None:
    assert list(changes(now, was)) == told


@given(st.lists(st.text(), max_size=30), st.lists(st.text(), max_size=30))
def test_any_two_texts_have_a_change_in_a_short_line(now: list[str], was: list[str]) -> None:
    for line in changes(text(" ".join(now)), text(" ".join(was))):
        assert len(line) < 500
        assert not set(line) & {"\n", "\x1b", "\r"}
