"""The process's standard streams, made fit for any end: closed, full, or of another encoding.

What a process is started with must not cost a run: notes that nobody hears are dropped, and
a result that cannot be written raises `ResultLostError`, which no code of a task or of a service raises.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys

# mypy reads this name as `typing.TYPE_CHECKING`, whose import `--version` can do without
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


_STDIN, _STDOUT, _STDERR = 0, 1, 2
_NOBODY_READS = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET})
_ERRORS = "callsheet.escape"

# `errors.ExitCode` is not loaded for `--version`
_CANNOT_WRITE, _READER_GONE = 74, 141


class ResultLostError(Exception):
    """Stdout does not take what was written; nothing more is written there.

    `is_reader_gone`: whoever read it has left. Otherwise `reason` says what is wrong with it.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.is_reader_gone = error.errno in _NOBODY_READS
        self.exit_code = _READER_GONE if self.is_reader_gone else _CANNOT_WRITE
        self.reason = error.strerror or str(error)


class Results(io.TextIOWrapper):
    """Stdout: whatever keeps it from being written is `ResultLostError`."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._lost(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> ResultLostError:
        _send_nowhere(self.fileno())
        return ResultLostError(error)


class Notes(io.TextIOWrapper):
    """Stderr: a note that cannot be written is dropped."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            _send_nowhere(self.fileno())
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _send_nowhere(self.fileno())


def start_again_with_utf8() -> None:
    """Replaces this process by one whose file names are UTF-8, where the locale's encoding is another.

    A paid video could not get its name otherwise. The streams keep their encoding.
    """
    is_fit = sys.getfilesystemencoding() == "utf-8" or sys.flags.ignore_environment
    if is_fit or os.environ.get("PYTHONUTF8") == "1":
        return
    changes = {"PYTHONUTF8": "1", "PYTHONIOENCODING": _encoding(sys.stdout)}
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **changes})  # noqa: S606  ourselves, as we were called


def prepare_streams() -> None:
    """Puts `Results` and `Notes` in place of the process's own streams; a replaced stream stays.

    A descriptor that is closed is taken first: the next file that is opened would get its number,
    and what a library prints would go into that file.
    """
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        _take_if_closed(descriptor)
    codecs.register_error(_ERRORS, _as_json_escape)
    if sys.stdin is None:
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115  for the life of the process
    if sys.stdout is sys.__stdout__:
        sys.stdout = Results(_raw(_STDOUT), _encoding(sys.stdout), _ERRORS)
    if sys.stderr is sys.__stderr__:
        sys.stderr = Notes(_raw(_STDERR), _encoding(sys.stderr), _ERRORS, line_buffering=True)


def _take_if_closed(descriptor: int) -> None:
    if _is_open(descriptor):
        return
    if descriptor == _STDOUT:
        # as if its reader had left
        gone, taken = os.pipe()
        os.close(gone)
    else:
        taken = os.open(os.devnull, os.O_RDWR)
    if taken != descriptor:
        os.dup2(taken, descriptor)
        os.close(taken)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _raw(descriptor: int) -> io.BufferedWriter:
    return io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _as_json_escape(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, as `\\u96e8`: readable, and the same text inside of JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
