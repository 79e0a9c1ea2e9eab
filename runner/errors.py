"""Everything that callsheet raises on purpose.

    CallsheetError                      exit code
    ├── UsageError                      2    an option or an argument is wrong
    ├── RefusedError                    3    budget, price or confirmation; nothing was sent
    ├── OutOfMoneyError                 4    the service answered 402
    ├── PersonNeededError               5    held tasks, or tasks under another key
    ├── JobError                        65   the job file is invalid (66: only inputs are missing)
    ├── ServiceUnreachableError         69   the API cannot be reached, or its certificate is bad
    ├── NoProjectError                  73   no project root, or one that cannot be written
    ├── StateError                      74   ledger or disk: cannot write, corrupt, full
    ├── BusyError                       75   another process holds the project's lock
    └── KeyRefusedError                 77   the API key is missing, malformed or refused

An error's text says where, what and what to do; `hint` is the last part. The exit codes are
those of docs/reference/exit-codes.md; where several conditions hold, `ExitCode.first` decides.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """What the process tells its caller, in the order of docs/reference/exit-codes.md."""

    DONE = 0
    TASK_FAILED = 1
    USAGE = 2
    REFUSED = 3
    OUT_OF_MONEY = 4
    PERSON_NEEDED = 5
    JOB_INVALID = 65
    INPUT_MISSING = 66
    UNREACHABLE = 69
    BUG = 70
    NO_PROJECT = 73
    CANNOT_WRITE = 74
    TRY_AGAIN = 75
    KEY_REFUSED = 77
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143

    @classmethod
    def first(cls, conditions: Iterable[ExitCode]) -> ExitCode:
        """The one to exit with where several conditions hold; DONE where none does."""
        present = set(conditions)
        return next((code for code in _PRECEDENCE if code in present), cls.DONE)


_PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.NO_PROJECT,
    ExitCode.CANNOT_WRITE,
    ExitCode.KEY_REFUSED,
    ExitCode.OUT_OF_MONEY,
    ExitCode.PERSON_NEEDED,
    ExitCode.REFUSED,
    ExitCode.TRY_AGAIN,
    ExitCode.UNREACHABLE,
    ExitCode.TASK_FAILED,
    ExitCode.USAGE,
    ExitCode.JOB_INVALID,
    ExitCode.INPUT_MISSING,
    ExitCode.READER_GONE,
)

INTERRUPTS = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED})
"""Those that end all work, not one job's alone."""


class CallsheetError(Exception):
    """Base of the tree; `str()` is the sentence that the user reads."""

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; hint: {self.hint}" if self.hint else self.message


class UsageError(CallsheetError):
    exit_code = ExitCode.USAGE


class RefusedError(CallsheetError):
    exit_code = ExitCode.REFUSED


class OutOfMoneyError(CallsheetError):
    exit_code = ExitCode.OUT_OF_MONEY


class PersonNeededError(CallsheetError):
    exit_code = ExitCode.PERSON_NEEDED


class ServiceUnreachableError(CallsheetError):
    exit_code = ExitCode.UNREACHABLE


class NoProjectError(CallsheetError):
    exit_code = ExitCode.NO_PROJECT


class StateError(CallsheetError):
    exit_code = ExitCode.CANNOT_WRITE


class BusyError(CallsheetError):
    exit_code = ExitCode.TRY_AGAIN


class KeyRefusedError(CallsheetError):
    exit_code = ExitCode.KEY_REFUSED


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a job file, at the place where a person has to change it.

    `line` and `column` count from 1, in characters; `path` is the place in the document as a
    person writes it (`content[0].image_url`, empty for the whole document). `severity` is
    `error` or `warning`. `is_missing_input` marks a local input file that cannot be read.
    """

    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: str = "error"
    is_missing_input: bool = False

    def render(self, file: str) -> str:
        where = f"{file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        prefix = "warning: " if self.severity == "warning" else ""
        hint = f"; hint: {self.hint}" if self.hint else ""
        return f"{where}{prefix}{path}{self.message}{hint}"


class JobError(CallsheetError):
    """The job file cannot be used; carries every problem found, in the order of the file.

    `text` is the file as it was read, for whoever shows the lines; empty where it could not be.
    """

    exit_code = ExitCode.JOB_INVALID
    MOST_SHOWN: ClassVar[int] = 50

    def __init__(self, file: str, problems: Iterable[Problem], *, text: bytes = b"") -> None:
        self.file = file
        self.text = text
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        if self.problems and all(problem.is_missing_input for problem in self.problems):
            self.exit_code = ExitCode.INPUT_MISSING
        super().__init__("\n".join(problem.render(file) for problem in self.problems[: self.MOST_SHOWN]))
