"""YAML text to nodes: YAML 1.2 core, marks, limits, and no surprise that costs money."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import JobError, Problem
from runner.job.yaml import source
from runner.job.yaml.nodes import Location, Mapping, Node, Scalar, Sequence, find, to_data
from runner.job.yaml.source import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_NODES, parse, resolve
from tests.support.key_free_texts import looks_like_no_key

PARSERS = [source.event_parser, source.PythonParser]

Parse = Callable[[bytes], Mapping]


@pytest.fixture(params=PARSERS, ids=["default", "python"])
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """`parse` with each of the two event parsers."""
    monkeypatch.setattr(source, "event_parser", request.param)
    return lambda text: parse(text, file="job.yaml")


def value_of(plain: str, read: Parse) -> Any:
    document = to_data(read(f"a: {plain}\n".encode()))
    assert isinstance(document, dict)
    return document["a"]


def first_problem(text: bytes) -> str:
    with pytest.raises(JobError) as caught:
        parse(text, file="job.yaml")
    return str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    "text",
    [
        "16:9",
        "NO",
        "yes",
        "on",
        "2024-06-01",
        "1:30:00",
        "0b11",
        "1_000",
        "tRUE",
        "0o8",
        "0xg",
        "1e",
        "+",
        ".",
    ],
)
def test_what_yaml_1_1_would_convert_stays_text(text: str, read: Parse) -> None:
    assert value_of(text, read) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-12", -12),
        ("+7", 7),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
    ],
)
def test_scalars_resolve_by_the_core_schema(text: str, value: object, read: Parse) -> None:
    found = value_of(text, read)
    assert found == value
    assert type(found) is type(value)


def test_an_unquoted_ratio_stays_text_in_flow_and_block(read: Parse) -> None:
    data = to_data(read(b"a: [16:9, 9:16]\nb: {ratio: 21:9}\nc:\n- 4:3\n"))
    assert data == {"a": ["16:9", "9:16"], "b": {"ratio": "21:9"}, "c": ["4:3"]}


def test_locations_count_characters_from_one_and_know_their_path(read: Parse) -> None:
    """Characters, not bytes: one for é, one for a character beyond the first plane."""
    root = read("größe: [é, 😀, x]\nb:\n  c: 1\n".encode())
    sizes = root.get("größe")
    assert isinstance(sizes, Sequence)
    assert sizes.location == Location(1, 8, ("größe",))
    assert [item.location for item in sizes.items] == [
        Location(1, 9, ("größe", 0)),
        Location(1, 12, ("größe", 1)),
        Location(1, 15, ("größe", 2)),
    ]
    below = root.get("b")
    assert isinstance(below, Mapping)
    ((key, value),) = below
    assert (key.location, value.location) == (Location(3, 3, ("b", "c")), Location(3, 6, ("b", "c")))


def test_a_byte_order_mark_is_no_part_of_the_text(read: Parse) -> None:
    root = read(b"\xef\xbb\xbfa: 1\n")
    assert to_data(root) == {"a": 1}
    assert root.location == Location(1, 1)


def test_windows_line_ends_count_as_one(read: Parse) -> None:
    assert find(read(b'a: "b\r\n  c"\r\nd: e\r\n'), ("d",)).location == Location(3, 4, ("d",))


def test_a_scalar_keeps_its_text_and_its_style(read: Parse) -> None:
    assert find(read(b"a: 0720\n"), ("a",)) == Scalar(720, "0720", True, Location(1, 4, ("a",)))
    assert find(read(b"a: '0720'\n"), ("a",)) == Scalar("0720", "0720", False, Location(1, 4, ("a",)))


def test_a_comment_is_fine_where_nothing_is_lost(read: Parse) -> None:
    """A `#` inside a word, in quotes, in a block scalar, or after another key's value."""
    text = b"# top\ntext: a#b\nprompt: 'c # d' # said\nseed: 1 # one\nlong:\n  text: |\n    e # f\n"
    expected = {"text": "a#b", "prompt": "c # d", "seed": 1, "long": {"text": "e # f\n"}}
    assert to_data(read(text)) == expected


def test_an_empty_value_after_a_colon_is_null(read: Parse) -> None:
    assert to_data(read(b"a: {b: , c: }\nd:\ne: {? f # x: y\n : }\n")) == {
        "a": {"b": None, "c": None},
        "d": None,
        "e": {"f": None},
    }


def test_a_location_at_the_end_of_an_unfinished_line_lies_in_the_text(read: Parse) -> None:
    """libyaml places it one line below."""
    with pytest.raises(JobError) as caught:
        read(b"a: 1\n? b")
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a: 1\nb: \xff\n", "2:4: not UTF-8 text"),
        ("a: 1".encode("utf-16"), "1:1: not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "2:4: invisible character U+0000"),
        (b"a: \x1b[31m\n", "1:4: invisible character U+001B"),
        ("a: b\u2028c\n".encode(), "1:5: invisible character U+2028"),
        ("a: b\ufeffc\n".encode(), "1:5: invisible character U+FEFF"),
        (b"a: " + b"x" * MAX_BYTES, "1:1: 4,194,307 bytes"),
        (b"", "1:1: the file is empty"),
    ],
)
def test_what_is_no_text_is_refused_before_it_is_read(text: bytes, expected: str) -> None:
    assert first_problem(text).startswith(f"job.yaml:{expected}")


def test_a_tab_in_the_indentation_of_a_block_scalar_is_refused(read: Parse) -> None:
    with pytest.raises(JobError, match=r"^job.yaml:2:1: .*a tab where spaces are expected"):
        read(b"a: >\n\tfoo\n")


def test_a_lone_surrogate_in_an_escape_is_refused(read: Parse) -> None:
    with pytest.raises(JobError, match=r"^job.yaml:1:\d+: a: "):
        read(b'a: "\\ud800"\n')


@pytest.mark.security(1)
def test_the_deepest_document_is_read_and_one_deeper_is_not(read: Parse) -> None:
    inner = MAX_DEPTH - 1
    assert to_data(read(b"a: " + b"[" * inner + b"]" * inner))
    with pytest.raises(JobError, match="nested more than 64 levels deep"):
        read(b"a: " + b"[" * (inner + 1) + b"]" * (inner + 1))


@pytest.mark.security(1)
def test_the_number_of_values_is_limited_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_NODES == 200_000
    monkeypatch.setattr(source, "MAX_NODES", 10)
    assert parse(b"a: [1, 2, 3, 4, 5, 6, 7]\n", file="job.yaml")
    assert "more than 10 values" in first_problem(b"a: [1, 2, 3, 4, 5, 6, 7, 8]\n")


@pytest.mark.security(1)
@pytest.mark.parametrize(
    "text",
    [
        b"%TAG !a! b\n" * 50_000,
        b"a: 1\n...\n" + b"%TAG !a! b\n" * 50_000,
        b"a: 1\r...\r" + b"%TAG !a! b\r" * 50_000,
        b"[" * 500_000,
        b"- " * 500_000,
        b"a: {" * 250_000,
        b"a: " + b"1" * 1_000_000,
        b"a: 0x" + b"f" * 1_000_000,
        b"a: " + b"1" * 1_000_000 + b".5",
        b"{a" + b"\n #c" * 100_000 + b", b: 1}",
        b"{a" + b" " * 500_000 + b", b: 1}",
        b"a: &b [*b, *b]\n" * 10_000,
    ],
    ids=lambda text: text[:12].decode(),
)
def test_a_hostile_text_is_refused_in_no_time(text: bytes) -> None:
    """Each took minutes or the whole stack somewhere: directives, depth, digits, backtracking."""
    started = time.process_time()
    with pytest.raises(JobError):
        parse(text, file="job.yaml")
    assert time.process_time() - started < 5


@pytest.mark.security(20)
def test_an_api_key_is_refused_and_never_printed() -> None:
    text = b"a: rsk_live_0123456789\na: *rsk_live_0123456789\n# key-0123456789abcdef\n"
    with pytest.raises(JobError) as caught:
        parse(text, file="job.yaml")
    assert [(each.line, each.column) for each in caught.value.problems] == [(1, 4), (2, 5), (3, 3)]
    assert "0123456789" not in str(caught.value)


@pytest.mark.security(20)
@pytest.mark.parametrize(
    "key",
    [
        "sk_0123456789abcdefghij",
        "sk-proj-0123456789abcdefghij",
        "r8_0123456789abcdefghijklmnopqr",
        "12345678-90ab-cdef-1234-567890abcdef:0123456789abcdef0123456789abcdef",
    ],
)
def test_a_key_of_any_service_is_refused_and_never_printed(key: str) -> None:
    """As it is pasted where the name of a variable stands."""
    with pytest.raises(JobError) as caught:
        parse(f'accounts: {{acme: {{api_key_env: "{key}"}}}}\n'.encode(), file="callsheet.yaml")
    assert len(caught.value.problems) == 1
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "risk_abc",
        "a key-light from the left",
        "rsk_",
        "monkey-0123456789abcdef0",
        "out/sk-2026-11-27-the-teapot-shot.mp4",
        "disk_0123456789abcdefghij",
        "12345678-90ab-cdef-1234-567890abcdef",
    ],
)
def test_what_only_resembles_a_key_is_fine(text: str) -> None:
    assert to_data(parse(f"a: {text}\n".encode(), file="job.yaml")) == {"a": text}


@given(st.integers(-(10**38), 10**38))
def test_any_whole_number_resolves_to_itself(number: int) -> None:
    assert resolve(str(number)) == number


@given(st.integers(MAX_DIGITS + 1, 6000))
def test_an_absurdly_long_number_is_refused(digits: int) -> None:
    with pytest.raises(ValueError, match="more than 40 digits"):
        resolve("7" * digits)


YAML_BITS = st.sampled_from(
    [
        *"abt01 \n\n\t:-?,[]{}#&*!|>'\"%@`\\~.$é😀\r\x00\u2028",
        *(
            ": ",
            "- ",
            " #",
            "? ",
            "text: ",
            "${{ x }}",
            "<<: ",
            "!!",
            "---\n",
            "...\n",
            "\n  ",
            "\\u",
            "rsk_abc",
        ),
    ]
)


def check_any(text: bytes) -> None:
    """Nothing but a mapping or JobError comes out, and each mark lies inside the text."""
    outcomes: list[Mapping] = []
    problems: list[Problem] = []
    lines = re.split(r"\r\n?|\n", text.decode("utf-8", "replace").removeprefix("\ufeff"))
    for parser in PARSERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "event_parser", parser)
            try:
                outcomes.append(parse(text, file="job.yaml"))
            except JobError as error:
                problems += error.problems or [Problem(0, 0, "", "an error without a problem")]
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.message
    if len(outcomes) == len(PARSERS):
        assert to_data(outcomes[0]) == to_data(outcomes[1])


@settings(max_examples=100)
@given(st.lists(YAML_BITS, max_size=40).map("".join))
def test_any_text_gives_nodes_or_a_joberror(text: str) -> None:
    check_any(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_give_nodes_or_a_joberror(data: bytes) -> None:
    check_any(data)


TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn"], exclude_characters="\ufeff"
    ),
    max_size=20,
).filter(looks_like_no_key)
DOCUMENTS = st.dictionaries(
    TEXT,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**30), 10**30)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@given(document=DOCUMENTS, pretty=st.booleans())
def test_any_json_document_comes_back_equal(document: dict[str, Any], *, pretty: bool) -> None:
    """JSON is YAML, but for surrogate pairs in escapes; written on one line or on many."""
    text = json.dumps(document, indent=2 if pretty else None, ensure_ascii=False)
    assert to_data(parse(text.encode(), file="job.yaml")) == document


@given(document=DOCUMENTS.filter(bool), flow=st.sampled_from([True, False, None]))
def test_any_document_dumped_as_yaml_comes_back_equal(document: dict[str, Any], *, flow: bool | None) -> None:
    """Text quoted, since PyYAML leaves plain what YAML 1.1 takes for text."""
    text = yaml.dump(document, Dumper=_Quoting, default_flow_style=flow, width=10_000)
    assert to_data(parse(text.encode(), file="job.yaml")) == document


FLOAT = "tag:yaml.org,2002:float"


def with_point(number: float) -> str:
    """YAML 1.1, and so the dumper, knows 1.0e-05 and not 1e-05."""
    text = repr(number)
    return text if "." in text else text.replace("e", ".0e")


class _Quoting(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
_Quoting.add_representer(float, lambda dumper, number: dumper.represent_scalar(FLOAT, with_point(number)))


def locations(node: Node) -> list[Location]:
    inner: list[Node] = []
    if isinstance(node, Sequence):
        inner = list(node.items)
    elif isinstance(node, Mapping):
        inner = [part for entry in node for part in entry]
    return [node.location, *(each for child in inner for each in locations(child))]


@given(DOCUMENTS.filter(bool))
def test_locations_follow_the_order_of_the_text(document: dict[str, Any]) -> None:
    text = yaml.dump(document, Dumper=_Quoting, default_flow_style=False, width=10_000)
    root = parse(text.encode(), file="job.yaml")
    found = [(location.line, location.column) for location in locations(root)]
    assert found == sorted(found)


@given(DOCUMENTS.filter(bool))
def test_every_value_is_found_at_the_path_of_its_location(document: dict[str, Any]) -> None:
    root = parse(yaml.dump(document, Dumper=_Quoting).encode(), file="job.yaml")
    waiting: list[Node] = [root]
    while waiting:
        node = waiting.pop()
        assert find(root, node.location.path) is node
        if isinstance(node, Sequence):
            waiting += node.items
        elif isinstance(node, Mapping):
            waiting += (value for _, value in node)
