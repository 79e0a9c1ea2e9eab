"""The command `callsheet`: its verbs by name, each module loaded when its verb is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click

from runner import __version__
from runner.cli.options import common_options
from runner.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command lives (module and attribute), and its line in `callsheet --help`."""

    module: str
    attribute: str
    summary: str


VERBS: Mapping[str, Verb] = {
    "init": Verb("init", "init", "Make a project: .callsheet/ and a first job file."),
    "validate": Verb("validate", "validate", "Check job files; every problem with its place."),
    "plan": Verb("plan", "plan", "Show what a job would run, and why."),
    "run": Verb("run", "run", "Bring a job to done: submit, wait, download."),
    "resume": Verb("run", "resume", "Go on with a run that was interrupted."),
    "retry": Verb("run", "retry", "Submit a run's failed tasks once more."),
    "collect": Verb("collect", "collect", "Fetch all that is in flight; never submits."),
    "reconcile": Verb("reconcile", "reconcile", "Show unclear submits, and settle them by hand."),
    "status": Verb("status", "status", "Show what became of a run's tasks."),
    "report": Verb("report", "report", "Write a run's contact sheet, a page for a browser."),
    "show": Verb("show", "show", "Show how one clip was made, and how to make it again."),
    "verify": Verb("verify", "verify", "Hash and probe a run's files against its manifest."),
    "diff": Verb("diff", "diff", "Show what changed from one run to another."),
    "doctor": Verb("doctor", "doctor", "Check key, service, clock, disk, ledger and versions."),
    "spend": Verb("spend", "spend", "Show what was spent, and what may have been."),
    "models": Verb("models", "models", "Show what each model accepts and costs."),
    "schedule": Verb("schedule", "schedule", "Print a cron, systemd or GitHub unit for jobs."),
    "schema": Verb("init", "schema", "Print a JSON Schema, or write it for editors."),
    "sandbox": Verb("sandbox", "sandbox", "Serve the local sandbox for other clients."),
}


SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Write a job file": ("init", "validate", "plan", "models", "schema"),
    "Make videos": ("run", "resume", "retry", "collect", "reconcile", "schedule"),
    "Look at what came": ("status", "report", "show", "verify", "diff", "spend"),
    "When something is wrong": ("doctor", "sandbox"),
}
"""The verbs by what a person wants, in the order of `--help`."""


class LazyGroup(click.Group):
    """A group that imports a verb's module on use.

    Measured on 2 cores: `--help` takes 0.08 s; what the verbs import (httpx, jinja2, jsonschema,
    anyio, yaml) would add 0.3 s.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = getattr(importlib.import_module(f"runner.cli.verbs.{verb.module}"), verb.attribute)
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
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, VERBS[name].summary) for name in names], col_spacing=3)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callsheet", message="%(prog)s %(version)s")
@common_options
def callsheet() -> None:
    """Runs YAML job files against paid, asynchronous video-generation APIs, and never pays twice.

    \b
    Start:
      callsheet init
      callsheet run jobs/hello.yaml --sandbox    free and offline

    `callsheet VERB --help` has examples. Results go to stdout, everything else to stderr; NO_COLOR,
    FORCE_COLOR and CLICOLOR are heeded.

    \b
    Completion with Tab, for ~/.bashrc (zsh_source and fish_source: alike):
      eval "$(_CALLSHEET_COMPLETE=bash_source callsheet)"
    """
