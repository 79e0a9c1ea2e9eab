"""The job file as read by `source`: values, each with its location."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from runner.errors import Problem, Severity
from runner.json_value import JsonValue

Path: TypeAlias = tuple[str | int, ...]
"""The keys and the list positions that lead to a value."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where something stands: `line` and `column` count from 1, in characters.

    `file` is a further file that the job reads, by its path below the root; empty for the job file itself.
    """

    line: int
    column: int
    path: Path = ()
    file: str = ""

    def below(self, part: str) -> Location:
        """The location of a key that is missing here."""
        return replace(self, path=(*self.path, part))

    def error(self, message: str, hint: str = "", *, is_missing_input: bool = False) -> Problem:
        return replace(
            self.warning(message, hint), severity=Severity.ERROR, is_missing_input=is_missing_input
        )

    def warning(self, message: str, hint: str = "") -> Problem:
        path = show_path(self.path)
        return Problem(self.line, self.column, path, message, hint, Severity.WARNING, file=self.file)


@dataclass(frozen=True, slots=True)
class Scalar:
    """`value` by the YAML 1.2 core schema; `text` as written; `is_plain` when unquoted."""

    value: bool | int | float | str | None
    text: str
    is_plain: bool
    location: Location


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class Mapping:
    """Entries in the order of the file; keys are unique strings (duplicates are refused)."""

    entries: tuple[tuple[Scalar, Node], ...]
    location: Location

    def get(self, key: str) -> Node | None:
        return next((value for name, value in self.entries if name.value == key), None)

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries)


Node: TypeAlias = Scalar | Sequence | Mapping


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The items of a list; none of anything else."""
    return node.items if isinstance(node, Sequence) else ()


def entries_of(node: Node | None) -> tuple[tuple[Scalar, Node], ...]:
    """The keys and values of a mapping; none of anything else."""
    return node.entries if isinstance(node, Mapping) else ()


def text_of(node: Node | None) -> str | None:
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


def to_data(node: Node) -> JsonValue:
    """The plain JSON value of a node, marks dropped."""
    match node:
        case Scalar(value=value):
            return value
        case Sequence(items=items):
            return [to_data(item) for item in items]
        case Mapping(entries=entries):
            return {str(key.value): to_data(value) for key, value in entries}


def in_file(node: Node, file: str) -> Node:
    """The node with locations that say that it stands in `file`."""
    location = replace(node.location, file=file)
    match node:
        case Scalar():
            return replace(node, location=location)
        case Sequence(items=items):
            return Sequence(tuple(in_file(item, file) for item in items), location)
        case Mapping(entries=entries):
            pairs = (
                (replace(key, location=replace(key.location, file=file)), in_file(value, file))
                for key, value in entries
            )
            return Mapping(tuple(pairs), location)


def find(node: Node, path: Path) -> Node:
    """The node at `path`, or the deepest one on the way that exists."""
    for part in path:
        child: Node | None = None
        if isinstance(node, Mapping) and isinstance(part, str):
            child = node.get(part)
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            child = node.items[part]
        if child is None:
            return node
        node = child
    return node


_MOST_PARTS = 16
_FIRST_PARTS, _LAST_PARTS = 8, 4


def cut(text: str) -> str:
    """Text of the file, short enough for a message."""
    return text if len(text) <= 40 else text[:40] + "..."


def show_path(path: Path) -> str:
    """`("content", 0, "text")` as a person writes it: `content[0].text`; the middle of a long one is cut."""
    if len(path) > _MOST_PARTS:
        return f"{show_path(path[:_FIRST_PARTS])}...{show_path(path[-_LAST_PARTS:])}"
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else str(part)
    return shown
