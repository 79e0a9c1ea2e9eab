"""Text, times and errors from outside."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.http.answers import (
    LONGEST_WAIT,
    Answer,
    ErrorBody,
    clean,
    parse_http_date,
    parse_number,
    read_error,
    read_json,
    read_plain,
    read_scalars,
    retry_after,
    usable_id,
)
from runner.http.verdicts import ProviderError
from runner.providers.getimg.client import read_generation as read_getimg
from runner.providers.mesh.client import read_generation as read_mesh
from runner.times import iso_time

MEMBERS = (
    "id",
    "status",
    "created_at",
    "updated_at",
    "content",
    "error",
    "seed",
    "execution_expires_after",
    "usage",
    "model",
    "request_id",
    "detail",
    "message",
    "data",
    "deletes_at",
    "url",
    "video_url",
    "type",
    "code",
    "loc",
    "msg",
    "retry_after_seconds",
    "total_cost",
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
        ('{"url":"https:\\/\\/h.example\\/a?s=S"}', '{"url":"https:\\/\\/h.example\\/a?..."}'),
        ("HTTP://h.example/a?s=S, //h.example/a#S", "HTTP://h.example/a?... //h.example/a?..."),
        ("is it // or what? a#b", "is it // or what? a#b"),
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


def test_an_id_with_a_slash_is_usable_where_the_service_can_carry_it() -> None:
    """LiteLLM's ids are base64; a segment that is empty or a dot would change on its way."""
    coded = "video_b3Bl/bmFp+Og=="
    assert (usable_id(coded), usable_id(coded, with_slash=True)) == ("", coded)
    assert [usable_id(value, with_slash=True) for value in ("/a", "a/", "a//b", "a/../b", "a /b")] == [""] * 5


def test_numbers_that_no_figure_is_kept_as_are_left_out() -> None:
    """SQLite reads no `Infinity` again, and a price times 10**25 is no price."""
    document = json.loads('{"a": 1e999, "b": 100000000000000000000, "c": 7, "d": 1.5, "e": true}')
    assert read_scalars(document) == {"c": 7, "d": 1.5, "e": True}


@pytest.mark.fault(66)
@pytest.mark.parametrize(
    "text",
    [
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Wed, 31 Dec 1969 23:59:59 GMT",
    ],
)
def test_a_date_that_nobody_could_print_is_none(text: str) -> None:
    """With an offset the year 9999 ends in the year 10000, and no manifest was written ever after."""
    assert parse_http_date(text) is None
    assert Answer(200, {"date": text}, b"{}").server_time is None


@given(st.text(max_size=40) | st.datetimes(timezones=st.timezones()).map(format_datetime))
def test_whatever_time_is_read_can_be_written(text: str) -> None:
    moment = parse_http_date(text)
    assert moment is None or iso_time(moment)


ANY_JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.fault(63)
def test_an_input_that_comes_back_with_half_a_character_can_be_kept_and_is_another() -> None:
    """The ledger refused it, and with it that the service shows other inputs than were sent."""
    shown = read_plain({"prompt": "a teapot\ud83d", "seed": 7, "image": ["x"]})
    assert shown == {"prompt": "a teapot?", "seed": 7}
    assert read_plain({"prompt": "a teapot \U0001fad6"}) == {"prompt": "a teapot \U0001fad6"}


@pytest.mark.fault(63)
@given(st.dictionaries(st.sampled_from(MEMBERS), ANY_JSON), st.integers(200, 599))
@settings(max_examples=100)
def test_an_answer_of_any_shape_is_a_generation_or_a_trouble_and_can_be_kept(
    document: dict[str, object], status: int
) -> None:
    """Wrong types, numbers that overflow, surrogates: the ledger and the manifest take what is read."""
    answer = Answer(
        status, {"date": "x", "retry-after": "1e400"}, json.dumps({"id": "a", **document}).encode()
    )
    assert read_error(answer) is not None
    for read in (read_mesh, read_getimg):
        try:
            generation = read(read_json(answer), server_time=answer.server_time)
        except ProviderError:
            continue
        kept = sqlite3.connect(":memory:")
        kept.execute("CREATE TABLE kept (words TEXT, tag INTEGER, at REAL) STRICT")
        words = json.dumps([dict(generation.echo), dict(generation.usage), generation.raw_status])
        kept.execute("INSERT INTO kept VALUES (?, ?, ?)", (words, generation.tag, generation.created_at))
        kept.close()
        assert json.dumps([dict(generation.echo), dict(generation.usage)], allow_nan=False)
        for moment in (
            generation.created_at,
            generation.updated_at,
            *(one.expires_at for one in generation.files),
        ):
            assert moment is None or iso_time(moment)


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "around", ["%s", '{"id": "a", "content": %s}', '{"error": %s}', '{"detail": [{"loc": [%s]}]}']
)
def test_an_answer_that_is_nested_deeply_is_no_answer(around: str) -> None:
    for depth in (200, 900, 960, 990, 100_000):
        answer = Answer(422, {}, (around % ("[" * depth + "]" * depth)).encode())
        assert read_error(answer).code == ""
        with contextlib.suppress(ProviderError):
            read_mesh(read_json(answer))
