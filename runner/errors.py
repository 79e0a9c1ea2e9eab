"""Everything that callsheet raises on purpose.

    CallsheetError                      exit code
    ├── UsageError                      2    an option or an argument is wrong
    ├── RefusedError                    3    budget, price or confirmation; nothing was sent
    │   └── CapReachedError             3    the next task would pass a cap
    ├── OutOfMoneyError                 4    the account is out of credit, or a quota is used up
    ├── PersonNeededError               5    held tasks, or tasks under another key
    ├── JobError                        65   the job file is invalid (66: only inputs are missing)
    ├── NothingSentError                66   a task's input is gone or changed: it was not sent
    │   ├── InputNotKeptError           74   its input cannot be copied to where it stays for good
    │   └── MadeElsewhereError          75   another machine has submitted it
    ├── ServiceUnreachableError         69   the API cannot be reached, or its certificate is bad
    ├── WorkersError                    69   the cluster of `--workers` cannot be used
    ├── NoProjectError                  73   no project root, or one that cannot be written
    ├── StateError                      74   ledger or disk: cannot write, corrupt, full
    │   └── UnsafePathError             74   a path that leaves the root, or a link in its place
    ├── BusyError                       75   another process holds the project's lock
    │   └── LaneHeldError               75   another machine drives this account
    └── KeyRefusedError                 77   the API key is missing, malformed or refused

An error's text says where, what and what to do; `hint` is the last part. The exit codes are
those of docs/reference/exit-codes.md; where several conditions hold, `ExitCode.first` decides.

What one module tells another; each is caught before it reaches a person:

    Exception
    ├── InvalidValueError               job        a value that cannot be used, without its place
    │   ├── ExpressionError             job        a `${{ ... }}` that cannot be read or worked out
    │   ├── InputError                  job        a file or URL that the service cannot be given
    │   ├── SeedError                   job        what is written is not a seed
    │   └── SourceError                 job        a further file that the job cannot read
    ├── ProblemError                    job        all that is wrong with one value, or with one cell
    ├── CannotSayError                  providers  content that the service has no words for
    ├── ForbiddenAddressError           http       a URL that is not fetched
    ├── BrokenOffError                  http       no whole answer came
    ├── TunnelError                 http       a proxy that opened no tunnel
    ├── GuardedError                http       a paid POST that this machine's lease does not cover
    ├── ObjectError                 objects    a store that did not do what was asked
    ├── _ExistsError                objects    an object that is there already
    ├── LeftOutError                providers  a published model or price that cannot be used
    ├── ProviderError                   providers  a free request that failed
    │   └── StillLimitedError           lane       nothing but 429 for as long as we wait
    ├── WorkerDiedError             work       a process that died over what it was given
    ├── DownloadError                   store      a result that could not be fetched, or stored
    ├── ConflictError                   ledger     a statement against a rule of the schema
    ├── RemoteIdTakenError              ledger     an id that another attempt holds
    ├── NoScanError                     lane       a list that proves nothing
    ├── LeftForLater                    run        a paid task that the next run goes on with
    ├── GoneError                       run        a paid task that the service has no more
    ├── ResultLostError                 cli        standard output does not take what is written
    └── ValueError
        ├── AddressError                objects    not the address of an object
        └── NotMediaError               media      bytes that are not a whole video or picture
            └── UnprovenError           media      a video, of which nothing shows whether it is whole
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """The exit codes of the process, in the order of docs/reference/exit-codes.md."""

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
    """The service takes no paid request for now; `said` is its own sentence."""

    exit_code = ExitCode.OUT_OF_MONEY

    @classmethod
    def no_credit(cls, said: str) -> OutOfMoneyError:
        return cls(f"the account is out of credit: {said}", hint="top it up, then run again")

    @classmethod
    def used_up(cls, said: str) -> OutOfMoneyError:
        what = "a quota at the service is used up, and waiting here does not help"
        return cls(f"{what}: {said}", hint="raise the quota or wait for a new one, then run again")


class PersonNeededError(CallsheetError):
    exit_code = ExitCode.PERSON_NEEDED


class NothingSentError(CallsheetError):
    """A task lacks what its request begins with: its own trouble, and no other's."""

    exit_code = ExitCode.INPUT_MISSING


class ServiceUnreachableError(CallsheetError):
    exit_code = ExitCode.UNREACHABLE

    @classmethod
    def untrusted(cls, said: str) -> ServiceUnreachableError:
        return cls(f"cannot trust the API's certificate: {said}")


class WorkersError(CallsheetError):
    exit_code = ExitCode.UNREACHABLE


class NoProjectError(CallsheetError):
    exit_code = ExitCode.NO_PROJECT


class StateError(CallsheetError):
    exit_code = ExitCode.CANNOT_WRITE


class BusyError(CallsheetError):
    exit_code = ExitCode.TRY_AGAIN


class KeyRefusedError(CallsheetError):
    exit_code = ExitCode.KEY_REFUSED

    @classmethod
    def by_service(cls, said: str) -> KeyRefusedError:
        return cls(f"the service refused the API key: {said}")


class Severity(enum.StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a job file, at the place where a person has to change it.

    `line` and `column` count from 1, in characters; `path` is the place in the document as a
    person writes it (`content[0].image_url`, empty for the whole document). `is_missing_input` marks a
    local input file that cannot be read; `is_clash` one that any other text would end, such as two tasks at
    odds or a prompt that is not filled in, so that a change which ends it proves nothing.
    `file` is a further file that the job reads, by its path below the root; empty for the job file itself.
    """

    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    is_missing_input: bool = False
    file: str = ""
    is_clash: bool = False

    def render(self, file: str) -> str:
        """The sentence; `file` is the job file."""
        where = f"{self.file or file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        prefix = "warning: " if self.severity is Severity.WARNING else ""
        hint = f"; hint: {self.hint}" if self.hint else ""
        return f"{where}{prefix}{path}{self.message}{hint}"


class JobError(CallsheetError):
    """The job file cannot be used; carries every problem found, in the order of the file.

    `text` is for whoever read the file and shows its lines, `files` are further ones that the job reads.
    """

    exit_code = ExitCode.JOB_INVALID
    MOST_SHOWN: ClassVar[int] = 50

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.text = b""
        self.files: Mapping[str, bytes] = {}
        self.problems = tuple(
            sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        )
        if self.problems and all(problem.is_missing_input for problem in self.problems):
            self.exit_code = ExitCode.INPUT_MISSING
        super().__init__("\n".join(problem.render(file) for problem in self.problems[: self.MOST_SHOWN]))
