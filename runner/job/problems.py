"""What is wrong in a job file, and where: found by generators, gathered in one place.

A function that can find something wrong yields each problem and goes on with what is left; it is
called through `Problems.gather`, or by `yield from` in another such function.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TypeAlias, TypeVar

from runner.errors import JobError, Problem, Severity
from runner.job.yaml.nodes import Location

T = TypeVar("T")

Checked: TypeAlias = Generator[Problem, None, T]
"""Yields what is wrong, and returns a value all the same, so that one look finds every problem."""


class InvalidValueError(Exception):
    """A value that cannot be used; the caller knows where it stands. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "", *, is_missing_input: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.is_missing_input = is_missing_input

    def at(self, location: Location) -> Problem:
        return location.error(self.message, self.hint, is_missing_input=self.is_missing_input)


class ProblemError(Exception):
    """Problems that leave no value to go on with."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


def require(checked: Checked[T]) -> T:
    """The value that `checked` returns. Raises ProblemError with every problem that it yields."""
    problems: list[Problem] = []
    value = _finish(checked, problems.append)
    if problems:
        raise ProblemError(*problems)
    return value


def _finish(checked: Checked[T], report: Callable[[Problem], None]) -> T:
    while True:
        try:
            report(next(checked))
        except StopIteration as end:
            value: T = end.value
            return value


class Problems:
    """The problems of one file, each once. Leaving a `with` block raises JobError if any is an error.

    `earlier` are those found before, for a whole file by the parser, and `schema` those of its schema.
    What either reported is not reported again: it would be the same mistake in other words.
    """

    def __init__(
        self, file: str = "", *, earlier: Iterable[Problem] = (), schema: Iterable[Problem] = ()
    ) -> None:
        self._file = file
        self._found: dict[Problem, None] = dict.fromkeys(earlier)
        locations = {(problem.file, problem.line, problem.column) for problem in self._found}
        paths = {problem.path for problem in self._found if problem.path}
        self._reported = set(paths)
        for problem in schema:
            self._reported.add(problem.path)
            if problem.path not in paths and (problem.file, problem.line, problem.column) not in locations:
                self._found[problem] = None

    def __enter__(self) -> Problems:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.raise_errors()

    def gather(self, checked: Checked[T]) -> T:
        """Keeps the problems that `checked` yields; gives what it returns."""
        return _finish(checked, self.add)

    def add(self, problem: Problem) -> None:
        if problem.file or problem.path not in self._reported:
            self._found[problem] = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self._found if problem.severity is Severity.ERROR)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong except missing inputs."""
        return all(problem.is_missing_input for problem in self.errors)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self._found if problem.severity is Severity.WARNING)

    def raise_errors(self) -> None:
        if self.errors:
            raise JobError(self._file, self.errors)
