"""The one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence

import click

from runner.cli import console
from runner.cli.main import callsheet
from runner.cli.problems import show
from runner.cli.streams import ResultLostError
from runner.errors import CallsheetError, ExitCode

_DISK_TROUBLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}
)


def run_command(arguments: Sequence[str] | None) -> int:
    """Runs the command line `arguments` (None: the process's own) and gives the exit code."""
    if sys.platform == "win32":
        console.error("callsheet: Windows is not supported; hint: use it in WSL, on Linux or on macOS")
        return ExitCode.USAGE
    try:
        code = callsheet.main(arguments, prog_name="callsheet", standalone_mode=False)
        console.flush()
    except (Exception, KeyboardInterrupt) as error:
        return _ending(error)
    return int(code or ExitCode.DONE)


def _ending(error: BaseException) -> ExitCode:
    """Tells what went wrong, and gives the exit code for it."""
    match error:
        case BaseExceptionGroup():
            return ExitCode.first([_ending(one) for one in error.exceptions])
        case CallsheetError():
            show(error)
            return error.exit_code
        case click.ClickException():
            shown = io.StringIO()
            error.show(shown)
            for line in shown.getvalue().rstrip("\n").split("\n"):
                console.error(line)
            return ExitCode.USAGE
        case click.Abort() | KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case ResultLostError():
            if not error.is_reader_gone:
                console.error(f"stdout: cannot write: {error.reason}; hint: make room, then run again")
            return ExitCode(error.exit_code)
        case OSError() if error.errno in _DISK_TROUBLE:
            where = f"{error.filename}: " if error.filename else ""
            hint = "make room or fix the permissions, then run again"
            console.error(f"{where}cannot write: {error.strerror}; hint: {hint}")
            return ExitCode.CANNOT_WRITE
        case _:
            for line in console.bug_report(error):
                console.error(line)
            return ExitCode.BUG
