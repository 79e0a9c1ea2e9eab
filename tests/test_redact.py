"""Secrets do not get through; everything else does."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.redact import REMOVED, Redactor, escape, printable, printable_value

CANARY = "rsk_canary0123456789"
PLAIN = Redactor(())


@pytest.mark.parametrize(
    ("given_text", "told"),
    [
        ("https://h.test/v.mp4?sig=abc&x=1", "https://h.test/v.mp4"),
        ("https://user:pw@h.test:8443/v.mp4#frag", "https://h.test:8443/v.mp4"),
        ("https://a@b@h.test/p", "https://h.test/p"),
        ("HTTPS://h.test?sig=abc", "HTTPS://h.test"),
        ("get 'https://h.test/a?b=c' now", "get 'https://h.test/a' now"),
        ("GET /v1/files?X-Amz-Signature=abc failed", "GET /v1/files failed"),
        ("two: http://a.test/?k=1, http://b.test/?k=2", "two: http://a.test/ http://b.test/"),
    ],
)
def test_a_url_loses_user_info_query_and_fragment(given_text: str, told: str) -> None:
    assert PLAIN.text(given_text) == told


@pytest.mark.security(16)
@pytest.mark.parametrize("parameters", [";base64", ";name=a.png;base64", ""])
def test_a_data_uri_becomes_the_digest_of_its_bytes(parameters: str) -> None:
    content = b"\x89PNG some picture"
    payload = base64.b64encode(content).decode() if parameters else "%89PNG%20some%20picture"

    told = PLAIN.text(f"data:image/png{parameters},{payload}")

    assert told == f"data:image/png;sha256={hashlib.sha256(content).hexdigest()};bytes={len(content)}"
    assert PLAIN.text(told) == told


def test_a_data_uri_with_line_breaks_goes_as_a_whole() -> None:
    told = PLAIN.text("data:text/plain;base64,QUJD\nREVG\n")

    assert told == f"data:text/plain;sha256={hashlib.sha256(b'ABCDEF').hexdigest()};bytes=6"


def test_a_data_uri_that_does_not_decode_is_still_a_digest() -> None:
    told = PLAIN.text("data:image/png;base64,QUJDR")

    assert told.startswith("data:image/png;sha256=")
    assert "QUJD" not in told


def test_a_data_uri_of_no_known_shape_loses_its_payload() -> None:
    told = PLAIN.text(f"odd: data:{'x' * 100}/png;base64,QUJD?")

    assert "QUJD" not in told


def test_a_data_uri_inside_a_sentence_becomes_a_digest() -> None:
    told = PLAIN.text('cannot read "data:image/png;base64,QUJD" (too small)')

    digest = hashlib.sha256(b"ABC").hexdigest()
    assert told == f'cannot read "data:image/png;sha256={digest};bytes=3" (too small)'


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: {CANARY}",
        f"{{'x-api-key': '{CANARY}'}}",
        f"MESHAPI_API_KEY={CANARY}",
        f"bearer {CANARY}",
        f"({CANARY})",
        f"first line\n{CANARY}",
    ],
)
def test_a_key_is_found_without_being_registered(text: str) -> None:
    told = PLAIN.foreign_text(text)

    assert CANARY not in told
    assert REMOVED in told


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefghijklmnopqrstuvwx",
        "x-api-key: abcdefghijklmnopqrstuvwx",
        "key-abcdefghijklmnopqrstuvwx",
        "sk_abcdefghijklmnopqrstuvwx0",
        "the key sk-proj-abcdefghijklmnopqrstuvwx0",
        "r8_abcdefghijklmnopqrstuvwx0",
    ],
)
def test_a_key_of_another_service_is_found_too(text: str) -> None:
    assert "abcdefghijklmnop" not in PLAIN.text(text)


def test_a_key_of_fal_is_found_and_an_id_that_looks_like_its_half_is_not() -> None:
    half, secret = "12345678-90ab-cdef-1234-567890abcdef", "0123456789abcdef" * 2
    assert PLAIN.text(f"FAL_KEY={half}:{secret} {half}") == f"FAL_KEY={REMOVED} {half}"


@pytest.mark.parametrize(
    "prompt",
    [
        "The teapot spins, steam rising; 35mm, soft light?",
        "key-light from the left, key-frame at 2s, a bearer of news, ratio 16:9",
        "metadata: none, data: 5, 6",
        "Who? Where? a=b",
        "sha256:" + "a" * 64,
        "a desk-lamp_2024-shot-by-the-window, out/sk-2026-11-27-the-teapot-shot.mp4, sk_it_with_2_more_words",
    ],
)
def test_an_ordinary_prompt_is_left_alone(prompt: str) -> None:
    assert PLAIN.text(prompt) == prompt


def test_a_registered_secret_is_replaced_in_any_form_and_place() -> None:
    redactor = Redactor(["p@ss/word", "p@ss", ""])

    assert redactor.text("a p@ss/word b p%40ss%2Fword c p@ss") == f"a {REMOVED} b {REMOVED} c {REMOVED}"


def test_a_registered_secret_of_letters_alone_is_replaced() -> None:
    assert Redactor(["swordfish"]).text("swordfish") == REMOVED


def test_a_value_is_cleaned_to_its_leaves_and_its_keys() -> None:
    value = {CANARY: [f"x {CANARY}", {"n": 1, "t": (True, None, 0.5)}], "odd": float("nan"), "obj": b"bytes"}

    told = Redactor([CANARY]).foreign_value(value)

    assert told == {
        REMOVED: [f"x {REMOVED}", {"n": 1, "t": [True, None, 0.5]}],
        "odd": "nan",
        "obj": "b'bytes'",
    }


def test_our_own_value_keeps_its_line_breaks() -> None:
    assert PLAIN.value({"prompt": "a\nb \u202e"}) == {"prompt": "a\nb \u202e"}


@pytest.mark.security(17)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("Grüße, 茶", "Grüße, 茶"),
    ],
)
def test_what_could_turn_a_terminal_is_escaped(text: str, told: str) -> None:
    assert escape(text) == told


@pytest.mark.security(17)
def test_all_that_unicode_calls_control_format_or_surrogate_is_escaped() -> None:
    unseen = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = [chr(point) for point in range(sys.maxunicode + 1)]
    passed = [c for c in every if unicodedata.category(c) in unseen and escape(c) == c]
    changed = [c for c in every if unicodedata.category(c) not in {*unseen, "Cn"} and escape(c) != c]
    assert [passed, [hex(ord(c)) for c in changed]] == [[], []]


def test_a_control_character_does_not_end_a_url_before_its_query() -> None:
    assert "hidden" not in PLAIN.foreign_text("https://h.test/?a=1\x1chidden")


@given(
    before=st.text(max_size=20),
    after=st.text(max_size=20),
    query=st.text(st.characters(codec="utf-8", exclude_characters=" \"'<>", exclude_categories=("Z", "C"))),
)
def test_no_query_gets_through_whatever_stands_around(before: str, after: str, query: str) -> None:
    told = PLAIN.foreign_text(f"{before}https://cdn.test/v.mp4?x=CANARY{query} {after}")

    assert "CANARY" not in told


@given(text=st.text(), secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12))
def test_a_registered_secret_never_gets_through(text: str, secret: str) -> None:
    assert secret not in Redactor([secret]).foreign_text(text + secret + text)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda leaf: st.lists(leaf) | st.tuples(leaf)))
def test_cleaning_twice_changes_nothing_more(value: object) -> None:
    once = PLAIN.value(value)

    assert PLAIN.value(once) == once


@pytest.mark.parametrize(
    "hostile",
    [
        "a",
        "data:a/b;",
        "data:;",
        "x-amz-",
        "api_key ",
        "bearer ",
        "?a",
        "http:",
        "data:,",
        "rsk_",
        "sk-",
        "r8_1",
        "12345678-90ab-cdef-1234-567890abcdef:",
        "'api-key'",
    ],
)
def test_a_hostile_text_costs_no_more_than_its_length(hostile: str) -> None:
    """What costs the square of the length would take minutes here."""
    text = "=" + hostile * (400_000 // len(hostile))

    began = time.process_time()
    PLAIN.foreign_text(text)

    assert time.process_time() - began < 5


def test_a_redactor_is_made_with_the_keys() -> None:
    with pytest.raises(TypeError):
        Redactor()  # type: ignore[call-arg]


def test_what_is_shown_of_a_file_holds_nothing_that_looks_like_a_secret() -> None:
    said = "\x1b[2Jhttps://h.test/v.mp4?X-Amz-Signature=abc"
    assert printable(said) == r"\x1b[2Jhttps://h.test/v.mp4"
    assert printable_value({said: [said, 1]}) == {printable(said): [printable(said), 1]}
