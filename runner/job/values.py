"""Values of the job file that may hold expressions, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from runner.errors import JobError, Problem
from runner.job.expressions import (
    KnownNames,
    Scope,
    Template,
    compile_template,
    has_expression,
)
from runner.job.filters import ExpressionError
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Mark, Node, Scalar, Sequence, show_path
from runner.json_value import JsonValue

Path: TypeAlias = tuple[str | int, ...]


class ProblemError(Exception):
    """Carries one problem up to where problems are collected."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the job file something stands."""

    mark: Mark
    path: Path

    def error(self, message: str, hint: str = "", *, is_missing_input: bool = False) -> Problem:
        return Problem(
            self.mark.line,
            self.mark.column,
            show_path(self.path),
            message,
            hint,
            is_missing_input=is_missing_input,
        )

    def tell(self, error: ExpressionError, problems: Problems) -> None:
        """Adds all that is wrong with the scalar here."""
        for each in (error, *error.also):
            problems.add(self.error(each.message, each.hint))

    def warning(self, message: str, hint: str = "") -> Problem:
        return Problem(self.mark.line, self.mark.column, show_path(self.path), message, hint, "warning")


class Problems:
    """What was found so far, each thing once.

    A place that the text's own problems tell of is not told of again by those of the schema, nor
    one that either tells of by what comes later: it would be the same mistake in other words.
    """

    def __init__(self, text: Iterable[Problem] = (), schema: Iterable[Problem] = ()) -> None:
        self._found: dict[Problem, None] = dict.fromkeys(text)
        places = {(problem.line, problem.column) for problem in self._found}
        paths = {problem.path for problem in self._found if problem.path}
        self._told = set(paths)
        for problem in schema:
            self._told.add(problem.path)
            if problem.path not in paths and (problem.line, problem.column) not in places:
                self._found[problem] = None

    def add(self, problem: Problem) -> None:
        """Keeps `problem`, unless its place has been told of already."""
        if problem.path not in self._told:
            self._found[problem] = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self._found if problem.severity == "error")

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong but that inputs are missing."""
        return all(problem.is_missing_input for problem in self.errors)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self._found if problem.severity == "warning")

    def raise_errors(self, file: str) -> None:
        """Raises JobError where there is at least one error."""
        if self.errors:
            raise JobError(file, self.errors)


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value of the job file: a constant, a template, or a list or object of such.

    `names` are the names in scope that it depends on; a constant depends on none.
    """

    place: Place
    content: Constant | Template | tuple[Value, ...] | Mapping[str, Value]
    names: frozenset[str]

    def evaluate(self, scope: Scope) -> JsonValue:
        """Raises ProblemError at the place of the expression that fails."""
        match self.content:
            case Constant(value=value):
                return value
            case Template() as template:
                try:
                    return template.evaluate(scope)
                except ExpressionError as error:
                    raise ProblemError(self.place.error(error.message, error.hint)) from None
            case tuple() as items:
                return [item.evaluate(scope) for item in items]
            case _ as entries:
                return {name: value.evaluate(scope) for name, value in entries.items()}

    def fold(self, scope: Scope) -> Value:
        """The same value with what depends on `scope` alone computed now."""
        if isinstance(self.content, Constant):
            return self
        if self.names <= scope.keys():
            return replace(self, content=Constant(self.evaluate(scope)), names=frozenset())
        if isinstance(self.content, tuple):
            return replace(self, content=tuple(item.fold(scope) for item in self.content))
        if isinstance(self.content, Mapping):
            return replace(self, content={name: value.fold(scope) for name, value in self.content.items()})
        return self


@dataclass(frozen=True, slots=True)
class Constant:
    value: JsonValue


def compile_value(node: Node, path: Path, known: KnownNames, problems: Problems) -> Value:
    """The value at `node`; what is wrong with its expressions goes to `problems`."""
    place = Place(node.mark, path)
    match node:
        case Scalar(value=str() as text) if has_expression(text):
            try:
                template = compile_template(text, known)
            except ExpressionError as error:
                place.tell(error, problems)
                return Value(place, Constant(None), frozenset())
            return Value(place, template, template.names)
        case Scalar(value=value):
            return Value(place, Constant(value), frozenset())
        case Sequence(items=nodes):
            items = tuple(
                compile_value(item, (*path, number), known, problems) for number, item in enumerate(nodes)
            )
            return _container(place, items, items)
        case MappingNode(entries=pairs):
            entries = {
                str(key.value): compile_value(child, (*path, str(key.value)), known, problems)
                for key, child in pairs
            }
            return _container(place, entries, tuple(entries.values()))


def _container(
    place: Place, content: tuple[Value, ...] | Mapping[str, Value], children: tuple[Value, ...]
) -> Value:
    if all(isinstance(child.content, Constant) for child in children):
        whole = Value(place, content, frozenset()).evaluate({})
        return Value(place, Constant(whole), frozenset())
    return Value(place, content, frozenset[str]().union(*(child.names for child in children)))


def scalars(node: Node, path: Path) -> Iterator[tuple[Scalar, Path]]:
    """Each scalar value at and below `node`, with its path."""
    match node:
        case Scalar():
            yield node, path
        case Sequence(items=items):
            for number, item in enumerate(items):
                yield from scalars(item, (*path, number))
        case MappingNode(entries=entries):
            for key, child in entries:
                yield from scalars(child, (*path, str(key.value)))
