"""The command's entry: the one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import click

from runner.cli import console
from runner.cli.main import callsheet
from runner.errors import CallsheetError, ExitCode, JobError

_DISK_TROUBLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line `arguments` (default: the process's own) and gives the exit code."""
    if sys.platform == "win32":
        console.error("callsheet: Windows is not supported; hint: use it in WSL, on Linux or on macOS")
        return ExitCode.USAGE
    try:
        code = callsheet.main(arguments, prog_name="callsheet", standalone_mode=False)
        console.flush()
    except CallsheetError as error:
        _show(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            console.error(console.bug_report(error))
            return ExitCode.BUG
        where = f"{error.filename}: " if error.filename else ""
        console.error(
            f"{where}cannot write: {error.strerror}; hint: make room or fix the permissions, run again"
        )
        return ExitCode.CANNOT_WRITE
    except Exception as error:  # a bug: whatever it is, it ends as one short report
        console.error(console.bug_report(error))
        return ExitCode.BUG
    return int(code or ExitCode.DONE)


def _show(error: CallsheetError) -> None:
    console.error(str(error))
    if isinstance(error, JobError) and len(error.problems) > error.MOST_SHOWN:
        console.error(f"{error.file}: {len(error.problems) - error.MOST_SHOWN} more problems not shown")


if __name__ == "__main__":
    sys.exit(main())
