"""YAML text -> nodes that know their place: the YAML 1.2 core schema, one document, and no surprises.

Stock PyYAML reads YAML 1.1 (`16:9` is 969, `NO` is false, `2024-06-01` a date), keeps the last of
two equal keys, and expands aliases. So only its event stream is used; limits are counted on
events, before a node exists, and nothing here recurses on input.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from runner.errors import JobError, Problem
from runner.job.yaml.nodes import Location, Mapping, Node, Path, Scalar, Sequence, cut
from runner.job.yaml.syntax import explain

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 64
MAX_DIGITS = 40
"""Of a whole number: Python's own conversion is quadratic, and no field of ours takes more."""


class PythonParser(Reader, Scanner, Parser):
    """PyYAML's event parser without libyaml; ten times slower, the same events."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)


try:
    event_parser: Any = yaml.CLoader
except AttributeError:  # PyYAML built without libyaml
    event_parser = PythonParser


class _YamlMark(Protocol):
    """A mark of either parser: `index` counts characters from 0, as `line` and `column` do."""

    @property
    def index(self) -> int: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


# NEL, LS and PS are line breaks to the parser (YAML 1.1) and not to YAML 1.2: refused, not guessed.
# Named rather than the rest excluded: the class of the rest takes 5 ms to compile.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# Refused before parsing: libyaml compares each %TAG with all before it.
_DIRECTIVE = re.compile(r"(?:^|\r)%(?:TAG|YAML)\b|\A(?:[ \t]*+(?:#.*+)?(?:\r\n?|\n))*+%", re.MULTILINE)
LOOKS_LIKE_KEY = "this looks like an API key; a job file is shared, kept in git and copied into every run"
# By the services' own prefixes; found in the raw text, comments included, so that no later message prints it.
API_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:rsk_[A-Za-z0-9]{3}|key-(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_]{16}"
    r"|(?:sk[_-](?:[A-Za-z0-9]{2,12}[_-])?|r8_)(?=[A-Za-z]{0,64}[0-9])[A-Za-z0-9]{20}"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9a-f]{32})"
)
_LINE_BREAK = re.compile(r"\r\n?|\n")
_COLON_AFTER_KEY = re.compile(r"(?:\s++|#[^\r\n]*+)*+:")
_COMMENT_AFTER_VALUE = re.compile(r"[ \t]+#")
_PROSE_KEYS = frozenset({"text", "prompt"})
_NAMING_KEYS = frozenset({"matrix", "include", "vars", "env", "steps"})
"""Keys below which names for expressions stand."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def parse(text: bytes, *, file: str) -> Mapping:
    """The job file's document. `file` is its name in messages.

    Raises JobError with every problem that can be found before the text stops making sense.
    """
    reading = read(text)
    if reading.problems or reading.root is None:
        raise JobError(file, reading.problems)
    return reading.root


@dataclass(frozen=True, slots=True)
class Reading:
    """The nodes of a text as far as it could be read, and its problems.

    `root` is None if the text makes no further sense; `is_whole` is False if names that expressions
    use may be missing from it.
    """

    root: Mapping | None
    problems: tuple[Problem, ...]
    is_whole: bool


def read(text: bytes) -> Reading:
    """Like `parse`, but gives as much of the document as makes sense despite its problems."""
    problems: list[Problem] = []
    decoded = _decode(text, problems)
    if problems:
        return Reading(None, tuple(problems), is_whole=False)
    builder = _Builder(decoded, problems)
    root = builder.build()
    return Reading(None if builder.has_aliases else root, tuple(problems), is_whole=builder.is_whole)


def read_list(text: bytes) -> tuple[Sequence | None, tuple[Problem, ...]]:
    """The list that a YAML file of rows is, read by the rules of a job file, and its problems."""
    problems: list[Problem] = []
    decoded = _decode(text, problems)
    if problems:
        return None, tuple(problems)
    builder = _Builder(decoded, problems)
    root = builder.root if builder.parse() else None
    if not problems and not isinstance(root, Sequence):
        problems.append(Location(1, 1).error("a file of rows is a list", "- {id: hero, prompt: A teapot}"))
    return root if isinstance(root, Sequence) else None, tuple(problems)


def resolve(plain: str) -> bool | int | float | str | None:
    """The value of an unquoted scalar by the YAML 1.2 core schema (section 10.3.2 of the specification).

    Raises ValueError for a number that JSON, and so the API, cannot carry.
    """
    if plain in _WORDS:
        return _WORDS[plain]
    if plain[0] not in "+-.0123456789":
        return plain
    if _INTEGER.fullmatch(plain):
        if len(plain) > MAX_DIGITS:
            raise ValueError(f"a whole number of more than {MAX_DIGITS} digits")
        return int(plain, {"0o": 8, "0x": 16}.get(plain[:2], 10))
    if _NOT_JSON.fullmatch(plain):
        raise ValueError("a request cannot hold infinity or not-a-number")
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if math.isinf(number):
            raise ValueError("a number too large for a request")
        return number
    return plain


def _decode(text: bytes, problems: list[Problem]) -> str:
    """The text without a byte order mark; `problems` gets what is not text."""
    if len(text) > MAX_BYTES:
        size = f"{len(text):,} bytes; a job file has at most {MAX_BYTES:,}"
        problems.append(Location(1, 1).error(size, "write the sweep as axes, and large inputs as files"))
        return ""
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        location = location_at(text[: error.start].decode("utf-8"), error.start)
        problems.append(location.error("not UTF-8 text", "save the file as UTF-8"))
        return ""
    for match in islice(API_KEY.finditer(decoded), 20):
        location = location_at(decoded, match.start())
        hint = "put the key into the environment or .env, and revoke this one if the file was ever shared"
        problems.append(location.error(LOOKS_LIKE_KEY, hint))
    if problems:
        return ""
    for match in islice(UNPRINTABLE.finditer(decoded), 20):
        location = location_at(decoded, match.start())
        name = f"U+{ord(match[0]):04X}"
        hint = f'delete it, or write "\\u{ord(match[0]):04x}" in double quotes'
        problems.append(location.error(f"invisible character {name}", hint))
    if directive := _DIRECTIVE.search(decoded):
        location = replace(location_at(decoded, directive.end()), column=1)
        problems.append(location.error("directives (`%...`) are not supported", "delete this line"))
    return decoded


def location_at(text: str, index: int, path: Path = ()) -> Location:
    """The location of the character at `index`."""
    before = _LINE_BREAK.split(text[:index])
    return Location(len(before), len(before[-1]) + 1, path)


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence that is still open. `key` waits for its value; `key_end` is an index.

    `is_second` if the mapping has the key already: the first value counts.
    """

    location: Location
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)
    seen: dict[str, Location] = field(default_factory=dict)
    key: Scalar | None = None
    key_end: int = 0
    is_second: bool = False

    @property
    def path(self) -> Path:
        """The path of the value that comes next, or of the mapping if a key comes next."""
        if not self.is_mapping:
            return (*self.location.path, len(self.items))
        return self.location.path if self.key is None else (*self.location.path, str(self.key.value))

    def close(self) -> Node:
        if self.is_mapping:
            return Mapping(tuple(self.entries), self.location)
        return Sequence(tuple(self.items), self.location)


class _Builder:
    """Nodes from events, on a stack of its own."""

    def __init__(self, text: str, problems: list[Problem]) -> None:
        self.text = text
        self.problems = problems
        self.stack: list[_Frame] = []
        self.root: Node | None = None
        self.nodes = 0
        self.documents = 0
        self.has_aliases = False
        self.is_whole = True

    def parse(self) -> bool:
        """Reads to the end, into `root`; whether that could be done."""
        try:
            events: Iterator[yaml.Event] = yaml.parse(self.text, Loader=event_parser)
            return all(self._take(event) for event in events)
        except yaml.MarkedYAMLError as error:
            path = self._open_path()
            location = replace(self._location(error.problem_mark or error.context_mark), path=path)
            opened = replace(self._location(error.context_mark), path=path) if error.context_mark else None
            self.problems.append(explain(error, self.text, location, opened))
            return False

    def build(self) -> Mapping | None:
        if not self.parse():
            return None
        if self.root is None or (isinstance(self.root, Scalar) and not self.root.text):
            self._report(
                Location(1, 1), "the file is empty", "start with `version: 1`, `models:` and `content:`"
            )
        elif not isinstance(self.root, Mapping):
            what = "a list" if isinstance(self.root, Sequence) else "a single value"
            self._report(
                self.root.location, f"a job file holds keys and values, not {what}", "start with `version: 1`"
            )
        else:
            return self.root
        return None

    def _take(self, event: yaml.Event) -> bool:
        """Whether reading can go on."""
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._report(
                        self._location(event.start_mark), "a second document", "one file holds one job"
                    )
                    return False
            case yaml.ScalarEvent() | yaml.AliasEvent() | yaml.CollectionStartEvent():
                self.nodes += 1
                if self.nodes > MAX_NODES:
                    self._report(
                        self._location(event.start_mark), f"more than {MAX_NODES:,} values", "use axes"
                    )
                    return False
                return self._take_node(event)
            case yaml.CollectionEndEvent():
                frame = self.stack.pop()
                self._add(frame.close(), self._index(event.end_mark))
        return True

    def _take_node(self, event: yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionStartEvent) -> bool:
        location = self._location(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._report(
                location, f"aliases (`*{event.anchor}`) are not supported", "write the value out, or quote it"
            )
            self.has_aliases = True
            self._add(Scalar("", "", False, location), self._index(event.end_mark))
            return True
        if event.anchor is not None:
            self._report(
                location, f"anchors (`&{event.anchor}`) are not supported", "delete it, or quote the value"
            )
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event, location)
            return True
        if event.tag is not None:
            self._refuse_tag(event.tag, location)
        if len(self.stack) == MAX_DEPTH:
            self._report(location, f"nested more than {MAX_DEPTH} levels deep", "flatten the file")
            return False
        if self.text.startswith("{{", self._index(event.start_mark)):
            self._report(location, "an expression begins with a dollar sign", 'write "${{ ... }}", in quotes')
            return False
        self.stack.append(_Frame(location, isinstance(event, yaml.MappingStartEvent)))
        return True

    def _take_scalar(self, event: yaml.ScalarEvent, location: Location) -> None:
        is_plain = not event.style
        value: bool | int | float | str | None = event.value
        if event.tag is not None:
            self._refuse_tag(event.tag, location)
        elif is_plain:
            try:
                value = resolve(event.value)
            except ValueError as error:
                self._report(location, str(error), "quote it if it is text")
        if bad := _CONTROL.search(event.value):
            self._report(
                location, f"the value holds the control character U+{ord(bad[0]):04X}", "remove the escape"
            )
        end = self._index(event.end_mark)
        if is_plain:
            self._refuse_silent_cut(event.value, location, end)
        self._add(Scalar(value, event.value, is_plain, location), end)

    def _refuse_tag(self, tag: str, location: Location) -> None:
        self._report(
            location,
            f"tags (`{tag[:40]}`) are not supported",
            "delete it, or quote a value that begins with `!`",
        )

    def _refuse_silent_cut(self, value: str, location: Location, end: int) -> None:
        """Two ways in which YAML drops half of what a person wrote and says nothing."""
        frame = self.stack[-1] if self.stack else None
        key = frame.key if frame else None
        if frame and key and not value and not _COLON_AFTER_KEY.match(self.text, frame.key_end):
            hint = f"quote the value that it belongs to, or write `{cut(key.text)}: ...`"
            if ":" in key.text:
                hint = "put a space after the `:`"
            self._report(key.location, "a key without a value", hint)
            return
        if self._is_prose() and _COMMENT_AFTER_VALUE.match(self.text, end):
            message = "` #` starts a comment, so the rest of the line is lost"
            self._report(location, message, 'quote it: "... # ..."')

    def _is_prose(self) -> bool:
        """Whether this scalar is the value of a `text` or `prompt` key, or in a list there."""
        for frame in reversed(self.stack[-2:]):
            if frame.is_mapping:
                return frame.key is not None and frame.key.value in _PROSE_KEYS
        return False

    def _add(self, node: Node, end: int) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node, frame)
            frame.key_end = end
        else:
            if not frame.is_second:
                frame.entries.append((frame.key, node))
            elif not isinstance(node, Scalar) and not _NAMING_KEYS.isdisjoint(frame.path):
                self.is_whole = False
            frame.key = None

    def _key(self, node: Node, frame: _Frame) -> Scalar:
        """The key as text, whatever it is; reports what is wrong with it."""
        if not isinstance(node, Scalar):
            what = "list" if isinstance(node, Sequence) else "mapping"
            hint = 'quote a value that begins with `{` or `[`; an expression is "${{ ... }}"'
            self._report(node.location, f"a {what} cannot be a key", hint)
            return Scalar("?", "?", False, node.location.below("?"))
        if not isinstance(node.value, str):
            kinds = {bool: "true or false", type(None): "null"}
            kind = kinds.get(type(node.value), "a number")
            hint = f'quote it: "{cut(node.text)}"' if node.text else "write the key before the `:`"
            self._report(node.location, f"the key `{cut(node.text)}` is {kind}, not text", hint)
            node = Scalar(node.text, node.text, node.is_plain, node.location)
        frame.is_second = False
        if node.value == "<<" and node.is_plain:
            self.has_aliases = True
            self._report(
                node.location, "merge keys (`<<`) are not supported", "write the keys out, or use `vars`"
            )
        elif (first := frame.seen.get(node.text)) is not None:
            frame.is_second = True
            hint = f"the first one is at line {first.line}; keep one"
            self._report(node.location, f"the key `{cut(node.text)}` appears twice", hint)
        frame.seen.setdefault(node.text, node.location)
        return replace(node, location=node.location.below(node.text))

    def _report(self, location: Location, message: str, hint: str) -> None:
        self.problems.append(location.error(message, hint))

    @property
    def _path(self) -> Path:
        return self.stack[-1].path if self.stack else ()

    def _open_path(self) -> Path:
        """Of what is being read, without the number of a list item: at a parse error it may be one off."""
        path = self._path
        while path and isinstance(path[-1], int):
            path = path[:-1]
        return path

    def _index(self, mark: _YamlMark | None) -> int:
        return min(mark.index, len(self.text)) if mark else 0

    def _location(self, mark: _YamlMark | None) -> Location:
        if mark is None:
            return Location(1, 1, self._path)
        # libyaml ends an unfinished last line, so its marks there lie one line below the text.
        if mark.index >= len(self.text):
            return location_at(self.text, len(self.text), self._path)
        return Location(mark.line + 1, mark.column + 1, self._path)
