"""Text, times and errors from outside."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.answers import (
    LONGEST_WAIT,
    Answer,
    ErrorBody,
    clean,
    parse_http_date,
    parse_number,
    read_error,
    read_scalars,
    retry_after,
    usable_id,
)


@pytest.mark.security(17)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  caf\u00e9 \u6c34  ", "caf\u00e9 \u6c34"),
        ("red \x1b[31m\r\n", "red \\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("see https://h.example/a.mp4?sig=S&x=1 or", "see https://h.example/a.mp4?... or"),
        ("<a href='https://h.example/a?s=S'>", "<a href='https://h.example/a?...'>"),
        ("got data:image/png;base64,AAAA== here", "got data:... here"),
        ("metadata: fine", "metadata: fine"),
        (None, ""),
        (7, ""),
    ],
)
def test_text_from_outside_is_made_fit_to_show(text: object, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(max_size=2000), st.integers(10, 600))
def test_clean_text_is_bounded_printable_and_stays_clean(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()


@given(st.binary(max_size=300), st.integers(100, 999))
def test_any_body_is_read_as_some_error(body: bytes, status: int) -> None:
    assert isinstance(read_error(Answer(status, {}, body)), ErrorBody)


@given(
    st.recursive(
        st.none() | st.text(max_size=9) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["loc", "msg", "x"]), inner)
        ),
        max_leaves=6,
    )
)
def test_an_error_member_of_any_shape_is_read(value: object) -> None:
    for body in ({"error": value}, {"detail": value}, {"error": {"code": value, "message": value}}, value):
        answer = Answer(400, {"x-request-id": "req_1"}, json.dumps(body).encode())
        assert read_error(answer).request_id == "req_1"


def test_the_request_id_of_the_body_stands_above_the_header() -> None:
    body = b'{"error": {"code": "c", "message": "m"}, "request_id": "req_body"}'
    assert read_error(Answer(400, {"x-request-id": "req_header"}, body)).request_id == "req_body"


@given(st.text(max_size=40), st.none() | st.floats(allow_nan=False), st.text(max_size=40))
def test_a_wait_is_always_within_bounds(header: str, body: float | None, date: str) -> None:
    answer = Answer(429, {"retry-after": header, "date": date}, b"")
    seconds = retry_after(answer, ErrorBody(retry_after=body), wall=0.0)
    assert seconds is None or 0.0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 784111777.0),
        ("", None),
        ("yesterday", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_http_dates(text: str, seconds: float | None) -> None:
    assert parse_http_date(text) == seconds


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (0.5, 0.5), ("3", 3.0), (10**400, float("inf")), (True, None), ("\u0663", None), ([], None)],
)
def test_numbers(value: object, number: float | None) -> None:
    assert parse_number(value) == number


@pytest.mark.parametrize("value", ["t-1", "cgt-20260921-abc_DEF.1~:%?#", "x" * 200])
def test_an_id_of_visible_ascii_is_usable(value: str) -> None:
    assert usable_id(value) == value


@pytest.mark.parametrize("value", ["", "a b", "a/b", ".", "..", "a\n", "\u00e9", "x" * 201, 1, None, ["t-1"]])
def test_any_other_id_is_not(value: object) -> None:
    assert usable_id(value) == ""


def test_numbers_that_no_figure_is_kept_as_are_left_out() -> None:
    """SQLite reads no `Infinity` again, and a price times 10**25 is no price."""
    document = json.loads('{"a": 1e999, "b": 100000000000000000000, "c": 7, "d": 1.5, "e": true}')
    assert read_scalars(document) == {"c": 7, "d": 1.5, "e": True}
