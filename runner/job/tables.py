"""The values of an axis from a file: rows of a table (csv, tsv, jsonl, yaml) or lines of text (txt)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeAlias

from runner.errors import Problem
from runner.job.cells import CellText
from runner.job.expressions.expressions import has_expression
from runner.job.expressions.filters import as_text
from runner.job.files.texts import TextFile
from runner.job.problems import Checked
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, cut, to_data
from runner.job.yaml.source import MAX_DEPTH, UNPRINTABLE, read_list
from runner.json_value import JsonValue, canonical_json
from runner.plural import count
from runner.slug import slug

MOST_ROWS = 10_000
MOST_COLUMNS = 200
MOST_CELLS = 10_000
"""Of one row that is read at all: a file of commas took a minute and 500 MB to be refused."""
MOST_PROBLEMS = 20
"""Of one file: those below are mostly of the same kind."""

ID = "id"
"""The column that names a row for good."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SHOWN = {"\t": "a tab", ",": "`,`", ";": "`;`"}
_LITERAL = (
    "`${{` in a file of rows is no expression: it would be sent as it stands",
    "write the expression into the job file, for example text: ${{ shot.prompt }}, ${{ ratio }}",
)

_Row: TypeAlias = tuple[Location, JsonValue]


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file holds; `columns` are those of its header, where it has one."""

    rows: list[_Row] = field(default_factory=list)
    columns: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` are constants. `columns` are all keys that rows have; None where the rows are texts.

    `has_ids`: each row has an `id`, and no two rows have one that names the same file.
    """

    rows: tuple[Value, ...]
    columns: frozenset[str] | None
    has_ids: bool


def read_table(file: TextFile, separator: str | None) -> Checked[Table]:
    """The rows of `file`, by its suffix; `separator` is what stands between its cells instead."""
    suffix = PurePosixPath(file.name).suffix.lower()
    match suffix:
        case ".csv" | ".tsv":
            found = yield from _first(_delimited(file, separator or _SEPARATORS[suffix]))
        case ".jsonl":
            found = yield from _first(_json_lines(file))
        case ".yaml" | ".yml":
            found = yield from _yaml_list(file)
        case ".txt":
            found = yield from _first(_lines(file))
        case _:
            hint = "save it as .csv (UTF-8), .tsv, .jsonl, .yaml, or as .txt with a text on each line"
            yield file.at(1, 1).error(f"rows are not read from `{suffix or file.name}`", hint)
            found = _Found()
    return (yield from _table(found))


def _first(problems: Checked[_Found]) -> Checked[_Found]:
    """The first problems of many."""
    for _ in range(MOST_PROBLEMS):
        try:
            yield next(problems)
        except StopIteration as end:
            found: _Found = end.value
            return found
    return _Found()


def _table(found: _Found) -> Checked[Table]:
    rows = found.rows
    if len(rows) > MOST_ROWS:
        yield rows[MOST_ROWS][0].error(f"more than {MOST_ROWS:,} rows", "split the file, and the job with it")
        return Table((), None, has_ids=False)
    objects = [value for _, value in rows if isinstance(value, dict)]
    if objects and len(objects) < len(rows):
        odd = next(location for location, value in rows if not isinstance(value, dict))
        yield odd.error("some rows have keys and this one has none", "give every row the same form")
        return Table((), None, has_ids=False)
    columns = found.columns
    if columns is None and objects:
        columns = frozenset(name for row in objects for name in row)
    unique = yield from _distinct(rows)
    has_ids = columns is not None and ID in columns
    if has_ids:
        yield from _check_ids(unique)
    values = tuple(Value(location, Constant(value), frozenset()) for location, value in unique)
    return Table(values, columns, has_ids)


def _distinct(rows: Iterable[_Row]) -> Checked[list[_Row]]:
    """The rows without those that repeat another one, each of which is a problem."""
    seen: dict[bytes, Location] = {}
    kept: list[_Row] = []
    for location, value in rows:
        try:
            wrong = [place.error(*why) for text, place in _texts(value, location) if (why := _why_not(text))]
        except RecursionError:
            wrong = [location.error("nested too deeply", "one plain object on each line")]
        if wrong:
            yield wrong[0]
            continue
        first = seen.setdefault(canonical_json(value), location)
        if first is location:
            kept.append((location, value))
        else:
            what = f"the same as line {first.line}: it would ask for one video twice"
            yield location.error(what, "delete it; for several takes use `samples: N`")
    return kept


def _why_not(text: str) -> tuple[str, str] | None:
    """(what is wrong, what to do) with a text that a row must not hold; JSON can spell any character."""
    if has_expression(text):
        return _LITERAL
    bad = UNPRINTABLE.search(text)
    return (f"invisible character U+{ord(bad[0]):04X}", "delete it") if bad else None


def _texts(value: JsonValue, location: Location, depth: int = 0) -> Iterator[tuple[str, Location]]:
    """Each text of a row, and each key of an object, with its place. Raises RecursionError."""
    if depth > MAX_DEPTH:
        raise RecursionError
    match value:
        case str():
            yield value, value.location if isinstance(value, CellText) else location
        case dict():
            for name, part in value.items():
                yield name, location
                yield from _texts(part, location, depth + 1)
        case list() | tuple():
            for part in value:
                yield from _texts(part, location, depth + 1)


def _check_ids(rows: Iterable[_Row]) -> Checked[None]:
    """Each row has an `id` that can name a file, and no other row has it."""
    seen: dict[str, int] = {}
    for location, row in rows:
        value = row.get(ID) if isinstance(row, dict) else None
        place = value.location if isinstance(value, CellText) else location
        if not isinstance(value, str | int) or isinstance(value, bool):
            yield place.error("this row has no `id`", "give each row an `id` of its own, for example hero-1")
            continue
        name = slug(as_text(value, ID)).casefold()
        if not name:
            yield place.error(
                f"`{cut(str(value))}` leaves nothing that can name a file", "use letters and digits"
            )
        elif name in seen:
            yield place.error(
                f"the id `{cut(str(value))}` is that of line {seen[name]} too",
                "give each row an `id` of its own; ids that differ only in case or punctuation name one file",
            )
        seen.setdefault(name, location.line)


def _lines(file: TextFile) -> Checked[_Found]:
    found = _Found()
    for number, line in enumerate(file.text.removesuffix("\n").split("\n"), start=1):
        location = file.at(number, 1)
        if line.strip():
            found.rows.append((location, CellText(line.strip(), location)))
        else:
            yield location.error(*_blank(file, number))
    return found


def _blank(file: TextFile, number: int) -> tuple[str, str]:
    if not file.text.strip():
        return "the file is empty", "write a row, or a text, on each line"
    return "a blank line", f"delete line {number}"


def _json_lines(file: TextFile) -> Checked[_Found]:
    found = _Found()
    for number, line in enumerate(file.text.removesuffix("\n").split("\n"), start=1):
        location = file.at(number, 1)
        if not line.strip():
            yield location.error(*_blank(file, number))
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
            found.rows.append((location, value))
        except json.JSONDecodeError as error:
            place = replace(location, column=error.colno)
            yield place.error(
                f"not JSON: {error.msg.lower()}", 'one object on each line: {"id": "hero", ...}'
            )
        except (ValueError, RecursionError) as error:
            yield location.error(str(error) or "nested too deeply", "one plain object on each line")
    return found


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{cut(twice)}` appears twice")
    return members


def _refuse(word: str) -> JsonValue:
    raise ValueError(f"a request cannot hold {word}")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number too large for a request")
    return number


def _yaml_list(file: TextFile) -> Checked[_Found]:
    rows, problems = read_list(file.text.encode())
    yield from (replace(problem, file=file.name) for problem in problems)
    items = rows.items if rows is not None and not problems else ()
    return _Found([(replace(item.location, path=(), file=file.name), to_data(item)) for item in items])


def _delimited(file: TextFile, separator: str) -> Checked[_Found]:
    """The rows of a table whose first line names its columns. An empty cell is left out of its row."""
    records = _records(file, separator)
    header = next(records)
    if isinstance(header, Problem):
        yield header
        return _Found()
    names = yield from _header(file, header, separator)
    if names is None:
        return _Found()
    found = _Found(columns=frozenset(names))
    is_empty = True
    for cells in records:
        is_empty = False
        if isinstance(cells, Problem):
            yield cells
            break
        place = replace(cells[0].location, column=1)
        if not any(str(cell) for cell in cells):
            what = "a blank line" if len(cells) == 1 else "an empty row"
            yield place.error(what, f"delete line {place.line}")
        elif len(cells) > len(names):
            extra = cells[len(names)].location
            yield extra.error(
                f"this row has {len(cells)} cells, and the header {len(names)}",
                f'quote a cell that holds {_SHOWN[separator]}: "..."',
            )
        elif len(cells) < len(names):
            missing = names[len(cells)]
            yield cells[-1].location.error(
                f"this row has {count(len(cells), 'cell')} and ends before `{cut(missing)}`",
                f"an empty cell needs its {_SHOWN[separator]} too",
            )
        else:
            row: dict[str, JsonValue] = {}
            row.update((name, cell) for name, cell in zip(names, cells, strict=True) if str(cell))
            found.rows.append((place, row))
            if len(found.rows) > MOST_ROWS:
                break
    if is_empty:
        yield file.at(1, 1).error("no rows below the header", "write one row for each value of the axis")
    return found


def _header(file: TextFile, cells: list[CellText], separator: str) -> Checked[list[str] | None]:
    """The names of the columns; None where something is wrong with one of them."""
    first = cells[0]
    if not file.text.strip():
        yield file.at(1, 1).error("the file is empty", "name the columns in the first line: id,prompt")
        return None
    if first.startswith("sep="):
        own = first[4:] or separator
        hint = (
            "delete line 1" if own == separator else f"delete line 1, and write {_with_separator(file, own)}"
        )
        yield first.location.error("`sep=` is a note to one program, and not the names of columns", hint)
        return None
    other = next((each for each in (";", "\t", ",") if each in first), "") if len(cells) == 1 else ""
    if other:
        what = f"the cells of this file are separated by {_SHOWN[other]}"
        yield first.location.error(what, f"write {_with_separator(file, other)}")
        return None
    names: list[str] = []
    is_sound = True
    for number, cell in enumerate(cells, start=1):
        name = str(cell)
        if wrong := _wrong_name(name, names, number):
            is_sound = False
            yield cell.location.error(*wrong)
        names.append(name)
    if len(names) > MOST_COLUMNS:
        yield first.location.error(
            f"{len(names)} columns; at most {MOST_COLUMNS}", "delete those that nothing uses"
        )
        return None
    return names if is_sound else None


def _wrong_name(name: str, before: list[str], number: int) -> tuple[str, str] | None:
    if not name:
        return f"column {number} has no name", "name it in the first line, or delete the column"
    if name in before:
        return f"the column `{cut(name)}` appears twice", "rename one of them"
    if has_expression(name):
        return "an expression cannot name a column", "use a plain word"
    return None


def _with_separator(file: TextFile, separator: str) -> str:
    """What to write in the job file for a table whose cells are separated so."""
    shown = "\\t" if separator == "\t" else separator
    return f'{{from: {file.written}, separator: "{shown}"}}'


_QUOTED = re.compile(r' *"((?:[^"]|"")*+)("?) *')


def _records(file: TextFile, separator: str) -> Iterator[list[CellText] | Problem]:
    """Each record as its cells; a Problem, at the end, where a quote goes wrong.

    RFC 4180, except that spaces around a cell are no part of it, unless they are quoted. The csv module
    does not say in which column a cell begins.
    """
    text = file.text
    bare = re.compile(f"[^{separator}\n]*")
    position, line, line_start = 0, 1, 0
    cells: list[CellText] = []
    while True:
        location = file.at(line, position - line_start + 1)
        if quoted := _QUOTED.match(text, position):
            opening = text.index('"', position)
            location = replace(location, column=opening - line_start + 1)
            if not quoted[2]:
                yield location.error("this quote is never closed", 'add the closing quote: "..."')
                return
            value = quoted[1].replace('""', '"')
            if breaks := quoted[0].count("\n"):
                line += breaks
                line_start = text.rindex("\n", position, quoted.end()) + 1
            position = quoted.end()
            if text[position : position + 1] not in ("", separator, "\n"):
                place = file.at(line, position - line_start + 1)
                yield place.error("text after a closing quote", 'inside quotes write a quote twice: ""')
                return
        else:
            found = bare.match(text, position)
            assert found is not None
            written = found[0]
            value = written.strip(" \t")
            location = replace(location, column=location.column + len(written) - len(written.lstrip(" \t")))
            position = found.end()
        cells.append(CellText(value, location))
        if text[position : position + 1] == separator:
            if len(cells) == MOST_CELLS:
                yield cells[0].location.error(f"more than {MOST_CELLS:,} cells in this row", "split the file")
                return
            position += 1
            continue
        yield cells
        cells = []
        position += 1
        line += 1
        line_start = position
        if position >= len(text):
            return
