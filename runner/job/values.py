"""Values of the job file that may hold expressions, each with its location."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from runner.job.expressions.expressions import (
    MOST_RESULT,
    KnownNames,
    Scope,
    Template,
    compile_template,
    has_expression,
)
from runner.job.expressions.filters import ExpressionError, as_text
from runner.job.files.texts import TextFile, TextFiles
from runner.job.problems import Checked, InvalidValueError, ProblemError, require
from runner.job.yaml.nodes import Location, Node, Scalar, Sequence
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.json_value import JsonValue


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value of the job file: a constant, a template, or a list or an object of these.

    `names` are the names in scope that it depends on; a constant depends on none. A text from a file whose
    path is an expression may depend on any.
    """

    location: Location
    content: Constant | Template | TextFrom | tuple[Value, ...] | Mapping[str, Value]
    names: frozenset[str]

    @property
    def known(self) -> JsonValue:
        """The value of a constant, and null for what has to be evaluated."""
        return self.content.value if isinstance(self.content, Constant) else None

    def evaluate(self, scope: Scope) -> JsonValue:
        """Raises ProblemError for the expression that fails."""
        match self.content:
            case Constant(value=value):
                return value
            case Template() as template:
                try:
                    return template.evaluate(scope)
                except ExpressionError as error:
                    raise ProblemError(error.at(self.location)) from None
            case TextFrom() as text:
                return text.of(scope, self.location).evaluate(scope)
            case tuple() as items:
                return [item.evaluate(scope) for item in items]
            case _ as entries:
                return {name: value.evaluate(scope) for name, value in entries.items()}

    def fold(self, scope: Scope) -> Value:
        """This value with every part that depends on `scope` alone computed now."""
        if isinstance(self.content, Constant):
            return self
        if self.names <= scope.keys():
            return replace(self, content=Constant(self.evaluate(scope)), names=frozenset())
        if isinstance(self.content, tuple):
            return replace(self, content=tuple(item.fold(scope) for item in self.content))
        if isinstance(self.content, Mapping):
            return replace(self, content={name: value.fold(scope) for name, value in self.content.items()})
        return self

    @property
    def read_names(self) -> frozenset[str]:
        """The names that it has used so far: `names`, except in files that no cell has asked for."""
        return self.content.read_names if isinstance(self.content, TextFrom) else self.names


@dataclass(frozen=True, slots=True)
class Constant:
    value: JsonValue


@dataclass(frozen=True, slots=True)
class TextFrom:
    """`{from: ...}` of a text where the path holds an expression: each file is read when a cell names it.

    `known` are the names that a text may use there.
    """

    path: Template
    files: TextFiles
    known: KnownNames
    _texts: dict[str, Value] = field(default_factory=dict, repr=False, compare=False)

    @property
    def read_names(self) -> frozenset[str]:
        return self.path.names.union(*(text.names for text in self._texts.values()))

    def of(self, scope: Scope, location: Location) -> Value:
        """The text of one cell; `location` is that of the path. Raises ProblemError."""
        try:
            path = as_text(self.path.evaluate(scope), "from")
        except ExpressionError as error:
            raise ProblemError(error.at(location)) from None
        if path not in self._texts:
            try:
                self._texts[path] = require(compile_text(self.files.read(path), self.known))
            except InvalidValueError as error:
                raise ProblemError(error.at(location)) from None
        return self._texts[path]


def compile_text(file: TextFile, known: KnownNames) -> Checked[Value]:
    """The text of a whole file, as if it stood in the job file, without its last line break."""
    place, text = file.at(1, 1), file.text.removesuffix("\n")
    if len(text) > MOST_RESULT:
        yield place.error(
            f"more than {MOST_RESULT:,} characters", "a prompt is a text that a person can read"
        )
    elif not text.strip():
        yield place.error("the file is empty", "write the text into it")
    elif has_expression(text):
        template = yield from compile_template(text, known, place, is_file=True)
        if template is not None:
            return Value(place, template, template.names)
    else:
        return Value(place, Constant(text), frozenset())
    return Value(place, Constant(None), frozenset())


def compile_value(node: Node, known: KnownNames) -> Checked[Value]:
    """The value at `node`, with null for each expression that is wrong."""
    location = node.location
    match node:
        case Scalar(value=str() as text) if has_expression(text):
            template = yield from compile_template(text, known, location)
            if template is None:
                return Value(location, Constant(None), frozenset())
            return Value(location, template, template.names)
        case Scalar(value=value):
            return Value(location, Constant(value), frozenset())
        case Sequence(items=nodes):
            items = yield from compile_values(nodes, known)
            return _container(location, items, items)
        case MappingNode(entries=pairs):
            entries: dict[str, Value] = {}
            for key, child in pairs:
                entries[str(key.value)] = yield from compile_value(child, known)
            return _container(location, entries, tuple(entries.values()))


def compile_values(nodes: Iterable[Node], known: KnownNames) -> Checked[tuple[Value, ...]]:
    values: list[Value] = []
    for node in nodes:
        values.append((yield from compile_value(node, known)))
    return tuple(values)


def _container(
    location: Location, content: tuple[Value, ...] | Mapping[str, Value], children: tuple[Value, ...]
) -> Value:
    if all(isinstance(child.content, Constant) for child in children):
        whole = Value(location, content, frozenset()).evaluate({})
        return Value(location, Constant(whole), frozenset())
    return Value(location, content, frozenset[str]().union(*(child.names for child in children)))


def scalars(node: Node) -> Iterator[Scalar]:
    """Each scalar value at and below `node`."""
    match node:
        case Scalar():
            yield node
        case Sequence(items=items):
            for item in items:
                yield from scalars(item)
        case MappingNode(entries=entries):
            for _, child in entries:
                yield from scalars(child)
