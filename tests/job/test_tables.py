"""The rows of files: what is read, what is refused, and at which place."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.cells import CellText, typed
from runner.job.expressions.filters import as_text
from runner.job.files.sources import Sources
from runner.job.files.texts import TextFiles
from runner.job.problems import ProblemError, Problems
from runner.job.tables import MOST_PROBLEMS, MOST_ROWS, Table, read_table
from runner.job.values import Constant
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue
from runner.slug import slug


def read(
    content: str | bytes, name: str = "shots.csv", separator: str | None = None
) -> tuple[Table | None, list[str]]:
    """The table of a file of this content, and its problems as lines for a person."""
    data = content.encode() if isinstance(content, str) else content
    files = TextFiles(Sources(Path("/project"), Path("/project"), {name: data}))
    problems = Problems("job.yaml")
    try:
        table = problems.gather(read_table(files.read(name), separator))
    except ProblemError as error:
        return None, [problem.render("job.yaml") for problem in error.problems]
    return table, [problem.render("job.yaml") for problem in problems.errors]


def rows(content: str | bytes, name: str = "shots.csv", separator: str | None = None) -> list[JsonValue]:
    table, problems = read(content, name, separator)
    assert problems == []
    assert table is not None
    values = [row.content for row in table.rows]
    return [value.value for value in values if isinstance(value, Constant)]


TEAPOTS: list[JsonValue] = [{"id": "007", "prompt": "A teapot, red"}, {"id": "b"}]


@pytest.mark.parametrize(
    ("name", "separator", "content"),
    [
        ("shots.csv", None, 'id,prompt\n007,"A teapot, red"\nb,\n'),
        ("shots.csv", None, '\ufeffid,prompt\r\n007,"A teapot, red"\r\nb,\r\n'),
        ("shots.csv", None, ' id , prompt\n007 , "A teapot, red" \nb,""'),
        ("SHOTS.CSV", ";", "id;prompt\n007;A teapot, red\nb;\n"),
        ("shots.tsv", None, "id\tprompt\n007\tA teapot, red\nb\t\n"),
        ("shots.tsv", ",", 'id,prompt\n007,"A teapot, red"\nb,\n'),
        ("shots.jsonl", None, '{"id": "007", "prompt": "A teapot, red"}\n{"id": "b"}\n'),
        ("shots.yaml", None, '# shots\n---\n- {id: "007", prompt: "A teapot, red"}\n- id: b\n'),
    ],
)
def test_each_kind_of_file_gives_the_same_rows(name: str, separator: str | None, content: str) -> None:
    assert rows(content, name, separator) == TEAPOTS
    table, _ = read(content, name, separator)
    assert table is not None
    assert (table.columns, table.has_ids) == (frozenset({"id", "prompt"}), True)


def test_a_text_file_gives_a_text_for_each_line() -> None:
    assert rows("A red teapot\n  a blue one, with a lid\n", "prompts.txt") == [
        "A red teapot",
        "a blue one, with a lid",
    ]
    assert rows("- A red teapot\n- a blue one\n", "prompts.yml") == ["A red teapot", "a blue one"]


def test_a_quoted_cell_holds_separators_quotes_and_lines() -> None:
    found = rows('id,prompt\na,"one, ""two""\nthree"\nb,5" screen\n')
    assert found == [{"id": "a", "prompt": 'one, "two"\nthree'}, {"id": "b", "prompt": '5" screen'}]


def test_values_of_json_and_yaml_keep_their_types() -> None:
    assert rows('{"id": 7, "loud": true, "gone": null, "tags": ["\\ud83d\\ude00"]}', "a.jsonl") == [
        {"id": 7, "loud": True, "gone": None, "tags": ["😀"]}
    ]
    assert rows("- {id: 7, ratio: 16:9, loud: NO}", "a.yaml") == [{"id": 7, "ratio": "16:9", "loud": "NO"}]


WRONG = [
    ("a.csv", "", "a.csv:1:1: the file is empty; hint: name the columns in the first line: id,prompt"),
    (
        "a.csv",
        "id,prompt\n",
        "a.csv:1:1: no rows below the header; hint: write one row for each value of the axis",
    ),
    (
        "a.csv",
        "id;prompt\na;b\n",
        'a.csv:1:1: the cells of this file are separated by `;`; hint: write {from: a.csv, separator: ";"}',
    ),
    (
        "a.csv",
        "id\tprompt\na\tb\n",
        "a.csv:1:1: the cells of this file are separated by a tab;"
        ' hint: write {from: a.csv, separator: "\\t"}',
    ),
    (
        "a.csv",
        "sep=;\nid;prompt\na;b\n",
        "a.csv:1:1: `sep=` is a note to one program, and not the names of columns;"
        ' hint: delete line 1, and write {from: a.csv, separator: ";"}',
    ),
    (
        "a.csv",
        "sep=,\nid,prompt\n",
        "a.csv:1:1: `sep=` is a note to one program, and not the names of columns; hint: delete line 1",
    ),
    (
        "a.csv",
        "id,,prompt\na,b,c\n",
        "a.csv:1:4: column 2 has no name; hint: name it in the first line, or delete the column",
    ),
    ("a.csv", "id,prompt,id\na,b,c\n", "a.csv:1:11: the column `id` appears twice; hint: rename one of them"),
    ("a.csv", "id,${{ x }}\na,b\n", "a.csv:1:4: an expression cannot name a column; hint: use a plain word"),
    (
        "a.csv",
        "id,prompt\na,b, c\n",
        'a.csv:2:6: this row has 3 cells, and the header 2; hint: quote a cell that holds `,`: "..."',
    ),
    (
        "a.csv",
        "id,prompt\na\n",
        "a.csv:2:1: this row has 1 cell and ends before `prompt`; hint: an empty cell needs its `,` too",
    ),
    ("a.csv", "id,prompt\na,b\n\nb,c\n", "a.csv:3:1: a blank line; hint: delete line 3"),
    ("a.csv", "id,prompt\na,b\n\n", "a.csv:3:1: a blank line; hint: delete line 3"),
    ("a.csv", "id,prompt\na,b\n , \n", "a.csv:3:1: an empty row; hint: delete line 3"),
    (
        "a.csv",
        'id,prompt\na,"b\nc,d\n',
        'a.csv:2:3: this quote is never closed; hint: add the closing quote: "..."',
    ),
    (
        "a.csv",
        'id,prompt\na,"b" c\n',
        'a.csv:2:7: text after a closing quote; hint: inside quotes write a quote twice: ""',
    ),
    (
        "a.csv",
        'id,prompt\na,"b\nb" c\n',
        'a.csv:3:4: text after a closing quote; hint: inside quotes write a quote twice: ""',
    ),
    (
        "a.csv",
        "id,prompt\na,b\na,b\n",
        "a.csv:3:1: the same as line 2: it would ask for one video twice;"
        " hint: delete it; for several takes use `samples: N`",
    ),
    (
        "a.csv",
        "id,prompt\nHero 1,b\nhero-1,c\n",
        "a.csv:3:1: the id `hero-1` is that of line 2 too; hint: give each row an `id` of its own;"
        " ids that differ only in case or punctuation name one file",
    ),
    (
        "a.csv",
        "prompt,id\na,\n",
        "a.csv:2:1: this row has no `id`; hint: give each row an `id` of its own, for example hero-1",
    ),
    (
        "a.csv",
        "prompt,id\na,?!\n",
        "a.csv:2:3: `?!` leaves nothing that can name a file; hint: use letters and digits",
    ),
    (
        "a.csv",
        "id,prompt\na,a ${{ ratio }} pot\n",
        "a.csv:2:3: `${{` in a file of rows is no expression: it would be sent as it stands; hint: write the"
        " expression into the job file, for example text: ${{ shot.prompt }}, ${{ ratio }}",
    ),
    ("a.csv", "id,prompt\na,b\u200b\x01\n", "a.csv:2:5: invisible character U+0001; hint: delete it"),
    (
        "a.csv",
        "id,prompt\na,rsk_" + "abc123\n",
        "a.csv:2:3: this looks like an API key, and this file is copied into every run;"
        " hint: put the key into the environment or .env, and revoke it if the file was ever shared",
    ),
    ("a.txt", "one\n\ntwo\n", "a.txt:2:1: a blank line; hint: delete line 2"),
    ("a.txt", "\n", "a.txt:1:1: the file is empty; hint: write a row, or a text, on each line"),
    (
        "a.txt",
        "one\none\n",
        "a.txt:2:1: the same as line 1: it would ask for one video twice;"
        " hint: delete it; for several takes use `samples: N`",
    ),
    (
        "a.jsonl",
        '{"id": "a"}\n{"id": "b",}\n',
        "a.jsonl:2:12: not JSON: expecting property name enclosed in double quotes;"
        ' hint: one object on each line: {"id": "hero", ...}',
    ),
    (
        "a.jsonl",
        '{"id": "a", "id": "b"}\n',
        "a.jsonl:1:1: the key `id` appears twice; hint: one plain object on each line",
    ),
    (
        "a.jsonl",
        '{"id": NaN}\n',
        "a.jsonl:1:1: a request cannot hold NaN; hint: one plain object on each line",
    ),
    (
        "a.jsonl",
        '{"id": "a"}\n"b"\n',
        "a.jsonl:2:1: some rows have keys and this one has none; hint: give every row the same form",
    ),
    ("a.jsonl", '{"id": "\\ud800"}\n', "a.jsonl:1:1: invisible character U+D800; hint: delete it"),
    ("a.jsonl", '{"\\u0000": "a"}\n', "a.jsonl:1:1: invisible character U+0000; hint: delete it"),
    (
        "a.jsonl",
        '{"id": 1e999}\n',
        "a.jsonl:1:1: a number too large for a request; hint: one plain object on each line",
    ),
    (
        "a.jsonl",
        "[" * 900 + "]" * 900 + "\n",
        "a.jsonl:1:1: nested too deeply; hint: one plain object on each line",
    ),
    ("a.yaml", "id: a\n", "a.yaml:1:1: a file of rows is a list; hint: - {id: hero, prompt: A teapot}"),
    (
        "a.yaml",
        "- id: a\n  id: b\n",
        "a.yaml:2:3: [0]: the key `id` appears twice; hint: the first one is at line 1; keep one",
    ),
    (
        "a.xlsx",
        "PK",
        "a.xlsx:1:1: rows are not read from `.xlsx`;"
        " hint: save it as .csv (UTF-8), .tsv, .jsonl, .yaml, or as .txt with a text on each line",
    ),
]


@pytest.mark.parametrize(("name", "content", "expected"), WRONG)
def test_what_is_wrong_is_told_at_its_place_with_what_to_do(name: str, content: str, expected: str) -> None:
    _, problems = read(content, name)
    assert problems == [expected]


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", "UTF-16"), ("cp1252", "WINDOWS-1252")])
def test_another_encoding_is_told_with_a_command_that_converts_it(encoding: str, named: str) -> None:
    _, (problem,) = read("id,prompt\na,Straße\n".encode(encoding), "my shots.csv")
    assert problem.endswith(
        f"iconv -f {named} -t UTF-8 'my shots.csv' > "
        "'my shots.csv.new' && mv 'my shots.csv.new' 'my shots.csv'"
    )


def test_a_file_with_many_mistakes_tells_the_first_ones() -> None:
    _, problems = read("id,prompt\n" + "a\n" * 1000)
    assert len(problems) == MOST_PROBLEMS


def test_a_row_without_end_is_refused_at_its_beginning() -> None:
    """Two million cells took a minute, and a place for each of them half a gigabyte."""
    _, problems = read("id,prompt\n" + "," * 2_000_000)
    assert problems == ["shots.csv:2:1: more than 10,000 cells in this row; hint: split the file"]


def test_a_table_has_at_most_so_many_rows() -> None:
    most = "id\n" + "".join(f"r{number}\n" for number in range(MOST_ROWS))
    assert len(rows(most)) == MOST_ROWS
    _, (problem,) = read(f"{most}one-more\n")
    assert problem.startswith(f"shots.csv:{MOST_ROWS + 2}:1: more than 10,000 rows")


_CELLS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Cn"), include_characters='\n",;\t "')
).filter(lambda text: "${{" not in text)


@given(st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_what_the_csv_module_writes_is_read_back(cells: list[tuple[str, str]], separator: str) -> None:
    written = io.StringIO()
    table = csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    table.writerows([("id", "one", "two"), *((number, *row) for number, row in enumerate(cells))])
    assert rows(written.getvalue(), "a.csv", separator) == [
        {"id": str(number)} | {name: cell for name, cell in zip(("one", "two"), row, strict=True) if cell}
        for number, row in enumerate(cells)
    ]


@given(st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=8))
def test_the_csv_module_reads_the_same_cells_except_for_spaces_around_them(
    cells: list[tuple[str, str]],
) -> None:
    text = "id,one,two\n" + "".join(
        f"{number},{','.join(_as_a_person_writes(cell) for cell in row)}\n"
        for number, row in enumerate(cells)
    )
    theirs = list(csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))[1:]
    ours = rows(text, "a.csv")
    assert [
        [row.get(name, "").strip() for name in ("id", "one", "two")] for row in ours if isinstance(row, dict)
    ] == [  # type: ignore[union-attr]
        [cell.strip() for cell in row] for row in theirs
    ]


def _as_a_person_writes(cell: str) -> str:
    """Quoted only where it must be."""
    must = any(character in cell for character in '",\n')
    return '"{}"'.format(cell.replace('"', '""')) if must else cell


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(_JSON, min_size=1, max_size=4), st.booleans())
def test_any_json_is_read_or_refused(values: list[JsonValue], is_ascii: bool) -> None:
    lines = "".join(f"{json.dumps(value, ensure_ascii=is_ascii)}\n" for value in values)
    table, problems = read(lines.encode(errors="surrogatepass" if is_ascii else "replace"), "a.jsonl")
    assert problems or (table is not None and len(table.rows) == len(values))


@given(st.text())
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    data = text.encode(errors="replace")
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.yaml", "a.txt"):
        table, problems = read(data, name)
        assert problems or (table is not None and table.rows)


INTEGER = {"type": ["integer", "null"]}
BOOLEAN = {"type": ["boolean", "null"]}


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("5", INTEGER, 5),
        ("-1", INTEGER, -1),
        ("5.0", INTEGER, 5.0),
        ("5", {"type": "number"}, 5),
        ("010", INTEGER, "010"),
        ("5s", INTEGER, "5s"),
        ("25,5", INTEGER, "25,5"),
        ("1e3", INTEGER, "1e3"),
        ("TRUE", BOOLEAN, True),
        ("false", BOOLEAN, False),
        ("yes", BOOLEAN, "yes"),
        ("007", {"type": ["string", "null"]}, "007"),
        ("true", {"type": "string"}, "true"),
        ("16:9", {}, "16:9"),
    ],
)
def test_a_cell_takes_the_type_of_its_field(
    text: str, schema: dict[str, object], expected: JsonValue
) -> None:
    found = typed(CellText(text, Location(1, 1)), schema)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FALSE", False),
        ("no", False),
        ("0", False),
        (" ", False),
        ("a.png", True),
        ("yes", True),
        ("TRUE", True),
    ],
)
def test_a_cell_that_says_no_is_false_as_a_condition(text: str, expected: bool) -> None:
    assert bool(CellText(text, Location(1, 1))) is expected


@pytest.mark.parametrize("text", ["0", "no", "off", "n", "none", "FALSE"])
def test_a_cell_that_says_no_names_a_file_like_any_other(text: str) -> None:
    """Rows are often numbered from 0."""
    name = slug(as_text(CellText(text, Location(1, 1)), "shot.id"))
    assert name == text
    assert bool(name) is True
