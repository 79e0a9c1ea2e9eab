"""The command's entry; `--version` is answered here, from a start that loads nothing else."""

from __future__ import annotations

import sys

from runner import __version__
from runner.cli.stdio import ResultLostError, prepare_streams, start_again_with_utf8

# mypy reads this name as `typing.TYPE_CHECKING`, whose import `--version` can do without
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""`errors.ExitCode.INTERRUPTED`, for a Ctrl-C that comes before that module is loaded."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line `arguments` (default: the process's own) and gives the exit code."""
    try:
        if arguments is None:
            start_again_with_utf8()
        prepare_streams()
        given = sys.argv[1:] if arguments is None else list(arguments)
        if given == ["--version"] and sys.platform != "win32":
            sys.stdout.write(f"callsheet {__version__}\n")
            sys.stdout.flush()
            return 0
        # imported here: click and what it needs cost four times a bare start of the interpreter
        from runner.cli.main import run_command

        return run_command(arguments)
    except ResultLostError as lost:
        return lost.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
