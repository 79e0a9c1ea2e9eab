"""Standard streams that work whatever they are connected to: closed, full, or in another encoding.

A bad stream must not cost a run: a note that cannot be written is dropped, and a result that cannot be
written raises `ResultLostError`, which nothing else raises.
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
    """Stdout cannot be written; nothing more is written to it.

    `is_reader_gone`: its reader has left. Otherwise `reason` says what is wrong.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.is_reader_gone = error.errno in _NOBODY_READS
        self.exit_code = _READER_GONE if self.is_reader_gone else _CANNOT_WRITE
        self.reason = error.strerror or str(error)


class Results(io.TextIOWrapper):
    """Stdout: raises `ResultLostError` where it cannot be written."""

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
    """Replaces this process by one with UTF-8 file names, where the locale has another encoding.

    Otherwise a paid video might not get its name. The streams keep their encoding.
    """
    is_fit = sys.getfilesystemencoding() == "utf-8" or sys.flags.ignore_environment
    if is_fit or os.environ.get("PYTHONUTF8") == "1":
        return
    changes = {"PYTHONUTF8": "1", "PYTHONIOENCODING": _encoding(sys.stdout)}
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **changes})  # noqa: S606  ourselves, as we were called


def prepare_streams() -> None:
    """Replaces the process's own streams by `Results` and `Notes`; a stream replaced by a test stays.

    A closed descriptor is taken first. Otherwise the next file that is opened would get its number, and
    what a library prints would go into that file.
    """
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:  # closed
            _take(descriptor)
    codecs.register_error(_ERRORS, _as_json_escape)
    if sys.stdin is None:
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115  for the life of the process
    if sys.stdout is sys.__stdout__:
        sys.stdout = Results(_raw(_STDOUT), _encoding(sys.stdout), _ERRORS)
    if sys.stderr is sys.__stderr__:
        sys.stderr = Notes(_raw(_STDERR), _encoding(sys.stderr), _ERRORS, line_buffering=True)


def _take(descriptor: int) -> None:
    if descriptor == _STDOUT:
        # as if its reader had left
        gone, taken = os.pipe()
        os.close(gone)
    else:
        taken = os.open(os.devnull, os.O_RDWR)
    if taken != descriptor:
        os.dup2(taken, descriptor)
        os.close(taken)


def _raw(descriptor: int) -> io.BufferedWriter:
    return io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _as_json_escape(error: UnicodeError) -> tuple[str, int]:
    """A character that an encoding lacks as `\\u96e8`, which is the same text in JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
