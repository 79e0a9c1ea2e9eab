"""The command `callsheet`: its verbs by name, and the one place where an exception becomes an exit code."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from runner import __version__
from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.problems import show
from runner.cli.stdio import ResultLostError
from runner.errors import CallsheetError, ExitCode
from runner.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class Verb:
    """The module in `verbs/` that holds a verb's command, and the verb's line in `callsheet --help`."""

    module: str
    summary: str


SECTIONS: Mapping[str, Mapping[str, Verb]] = {
    "Write a job file": {
        "init": Verb("init", "Make a project: .callsheet/ and a first job file."),
        "validate": Verb("validate", "Check job files; every problem with its place."),
        "plan": Verb("plan", "Show what a job would run, and why."),
        "models": Verb("models", "Show what each model accepts and costs."),
        "schema": Verb("init", "Print a JSON Schema, or write it for editors."),
    },
    "Make videos": {
        "run": Verb("run", "Bring a job to done: submit, wait, download."),
        "resume": Verb("run", "Go on with a run that was interrupted."),
        "retry": Verb("run", "Submit a run's failed tasks once more."),
        "collect": Verb("collect", "Fetch all that is in flight; never submits."),
        "reconcile": Verb("reconcile", "Show unclear submits, and settle them by hand."),
        "schedule": Verb("schedule", "Print a cron, systemd or GitHub unit for jobs."),
    },
    "Look at what came": {
        "runs": Verb("runs", "List the runs, newest first."),
        "status": Verb("status", "Show what became of a run's tasks."),
        "report": Verb("report", "Write a run's contact sheet, a page for a browser."),
        "show": Verb("show", "Show how one clip was made, and how to make it again."),
        "verify": Verb("verify", "Hash and probe a run's files against its manifest."),
        "diff": Verb("diff", "Show what changed from one run to another."),
        "spend": Verb("spend", "Show what was spent, and what may have been."),
        "budget": Verb("budget", "Show what is left of each of the project's budgets."),
        "archive": Verb("archive", "Put finished files into the project's store."),
        "fetch": Verb("archive", "Bring files back from the store."),
        "prune": Verb("prune", "List or remove old files, never a row of the ledger."),
    },
    "When something is wrong": {
        "doctor": Verb("doctor", "Check key, service, clock, disk, ledger and versions."),
        "ledger": Verb("ledger", "Move the ledger to a database that several machines share, or back."),
        "recover": Verb("recover", "Make a lost or outdated ledger again."),
        "lease": Verb("lease", "Show which machine drives which account of a shared ledger."),
        "sandbox": Verb("sandbox", "Serve the local sandbox for other clients."),
    },
}
"""The verbs by what a person wants to do, in the order of `--help`."""

VERBS: Mapping[str, Verb] = {name: verb for verbs in SECTIONS.values() for name, verb in verbs.items()}


class LazyGroup(click.Group):
    """A group that imports a verb's module on use.

    Measured on 2 cores: `--help` takes 0.08 s. The imports of the verbs (httpx, jinja2, jsonschema,
    anyio, yaml) would add 0.3 s.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"runner.cli.verbs.{VERBS[cmd_name].module}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            meant = did_you_mean(args[0], VERBS) or f"the verbs are {', '.join(VERBS)}"
            ctx.fail(f"no verb `{args[0]}`; hint: {meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.summary) for name, verb in verbs.items()], col_spacing=3)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callsheet", message="%(prog)s %(version)s")
@common_options
def callsheet() -> None:
    """Runs YAML job files against paid, asynchronous video-generation APIs, and never pays twice.

    \b
    Start:
      callsheet init
      callsheet run jobs/hello.yaml --sandbox    free and offline

    `callsheet VERB --help` has examples. Results go to stdout, everything else to stderr. NO_COLOR,
    FORCE_COLOR and CLICOLOR decide about colour.

    \b
    Completion with Tab, in ~/.bashrc (other shells: zsh_source, fish_source):
      eval "$(_CALLSHEET_COMPLETE=bash_source callsheet)"
    """


_DISK_ERRORS = frozenset(
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
        return _report(error)
    return int(code or ExitCode.DONE)


def _report(error: BaseException) -> ExitCode:
    """Says what went wrong, and gives the exit code for it."""
    match error:
        case BaseExceptionGroup():
            return ExitCode.first([_report(one) for one in error.exceptions])
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
        case OSError() if error.errno in _DISK_ERRORS:
            where = f"{error.filename}: " if error.filename else ""
            hint = "make room or fix the permissions, then run again"
            console.error(f"{where}cannot write: {error.strerror}; hint: {hint}")
            return ExitCode.CANNOT_WRITE
        case _:
            for line in console.bug_report(error):
                console.error(line)
            return ExitCode.BUG
