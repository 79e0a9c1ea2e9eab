"""`schedule`: prints units that run jobs by themselves, for cron, systemd or GitHub Actions.

All three do the same: the jobs once a day, and `collect` every hour and at boot, because results vanish
24 hours after they were made.

A path may hold any character, so each word of a command is quoted for every reader that it passes: first
for cron, systemd, or YAML and GitHub's expressions, then for the shell.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from runner.cli import console
from runner.cli.closing.monitor import VARIABLE
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.options import jobs_argument, trust_options
from runner.durable import replace_file
from runner.errors import CallsheetError, ExitCode, StateError, UsageError
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.job.policy import parse_duration
from runner.job.project.environment import read_env
from runner.job.project.load_project import load_project_file
from runner.project import PROJECT_FILE, Project, find_project
from runner.redact import escape
from runner.slug import slug

COLLECT_MINUTE = 17
"""Of each hour: not the full hour, at which everybody's jobs begin."""


@dataclass(frozen=True, slots=True)
class Nightly:
    """The commands that a unit starts. `command` starts callsheet, as a list of words."""

    name: str
    command: Sequence[str]
    root: Path
    jobs: Sequence[Path]
    at: datetime.time
    wait: str
    deadline: str
    yes: bool
    allow_env: Sequence[str]
    trust_job: bool
    ping: bool

    @property
    def run(self) -> list[str]:
        options = ["--quiet", "--root", str(self.root), "--wait", self.wait, "--deadline", self.deadline]
        options += [f"--allow-env={name}" for name in self.allow_env]
        flags = {"--trust-job": self.trust_job, "--yes": self.yes, "--ping": self.ping}
        options += [flag for flag, is_given in flags.items() if is_given]
        return [*self.command, "run", *options, *map(str, self.jobs)]

    @property
    def collect(self) -> list[str]:
        return [*self.command, "collect", "--quiet", "--root", str(self.root), "--wait", "10m"]


def unit_name(stem: str) -> str:
    """The part of a unit's name that is made of the job file's `stem`: systemd takes ASCII only."""
    name = slug(stem)
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    if name and plain == name:
        return name
    return f"{plain or 'jobs'}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:6]}"


def crontab(nightly: Nightly) -> dict[str, str]:
    """Three lines for `crontab -e` (crontab(5)). Cron mails what they print: nothing where all is well."""

    def line(when: str, words: Sequence[str]) -> str:
        command = shlex.join(words)
        # an unescaped % would end the command; one after a backslash cannot be escaped, so an empty pair
        # of quotes goes between them
        return f"{when} " + command.replace("\\%", "\\''%").replace("%", "\\%") + "\n"

    text = (
        f"# callsheet {nightly.name}: the jobs each night, and what is in flight every hour and at boot\n"
        + line(f"{nightly.at.minute} {nightly.at.hour} * * *", nightly.run)
        + line(f"{COLLECT_MINUTE} * * * *", nightly.collect)
        + line("@reboot", nightly.collect)
    )
    return {f"callsheet-{nightly.name}.crontab": text}


def systemd(nightly: Nightly) -> dict[str, str]:
    """Two services with their timers, for ~/.config/systemd/user (systemd.service(5), systemd.timer(5))."""

    def service(description: str, words: Sequence[str]) -> str:
        return (
            f"[Unit]\nDescription={description}\n\n"
            "[Service]\nType=oneshot\n"
            f"ExecStart={_systemd_command(words)}\n"
            "# 75: another run is at work, or time is up; it goes on at its next start\n"
            "SuccessExitStatus=75\n"
            "# the first SIGTERM persists everything; a POST under way gets its 10 seconds\n"
            "TimeoutStopSec=60\n"
        )

    def timer(description: str, *when: str) -> str:
        lines = "".join(f"{line}\n" for line in when)
        return f"[Unit]\nDescription={description}\n\n[Timer]\n{lines}\n[Install]\nWantedBy=timers.target\n"

    name = f"callsheet-{nightly.name}"
    jobs, in_flight = f"callsheet: {nightly.name}", "callsheet: fetch what is in flight"
    return {
        f"{name}.service": service(jobs, nightly.run),
        f"{name}.timer": timer("each night", f"OnCalendar=*-*-* {nightly.at:%H:%M}:00", "Persistent=true"),
        f"{name}-collect.service": service(in_flight, nightly.collect),
        f"{name}-collect.timer": timer(
            "every hour and at boot", f"OnCalendar=*-*-* *:{COLLECT_MINUTE}:00", "OnBootSec=2min"
        ),
    }


def github(nightly: Nightly) -> dict[str, str]:
    """One workflow, for a self-hosted runner: the ledger has to be there the next night."""
    group = f"callsheet-{nightly.name}-${{{{ github.event.schedule }}}}"
    # 75: another run is at work, or time is up; it goes on at its next start
    passing = " || test $? -eq 75"
    text = f"""\
# callsheet {nightly.name}. It needs a runner of your own, on the machine that holds the project:
# a hosted one begins with an empty disk, without the ledger that says what was paid for.
name: {_yaml_text(f"callsheet {nightly.name}")}
on:
  schedule:
    - cron: "{nightly.at.minute} {nightly.at.hour} * * *"    # UTC
    - cron: "{COLLECT_MINUTE} * * * *"
  workflow_dispatch:
concurrency:
  # one group for each schedule: of those that wait in one, GitHub drops all but the newest
  group: {_yaml_text(group)}
  cancel-in-progress: false
permissions: {{}}
jobs:
  callsheet:
    runs-on: self-hosted
    timeout-minutes: 1440
    steps:
      - name: fetch what is in flight
        if: github.event.schedule == '{COLLECT_MINUTE} * * * *'
        run: {_workflow_line(nightly.collect, passing)}
      - name: run the jobs
        if: github.event.schedule != '{COLLECT_MINUTE} * * * *'
        run: {_workflow_line(nightly.run, passing)}
"""
    return {f"callsheet-{nightly.name}.yaml": text}


KINDS: Mapping[str, Callable[[Nightly], dict[str, str]]] = {
    kind.__name__: kind for kind in (crontab, systemd, github)
}
"""Each gives the texts of its files by their names."""


def _systemd_command(words: Sequence[str]) -> str:
    """ExecStart: quoted as in C, with specifiers and variables escaped."""
    program, *arguments = (word.replace("%", "%%") for word in words)
    # systemd expands no variable in the program itself
    return " ".join(map(_systemd_word, (program, *(word.replace("$", "$$") for word in arguments))))


def _systemd_word(word: str) -> str:
    if re.fullmatch(r"[\w%+=:,./-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _workflow_line(words: Sequence[str], more: str) -> str:
    """A command for `run:`. GitHub expands expressions before the shell runs, so none may be in it."""
    # shlex has put a word with one in single quotes, which end and begin again inside it
    return _yaml_text(shlex.join(words).replace("${{", "$''{{") + more)


def _yaml_text(text: str) -> str:
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.strip()


_WRITTEN = {
    "crontab": "put the lines of that file into `crontab -e`",
    "systemd": "systemctl --user daemon-reload && systemctl --user enable --now {timers};"
    " and `loginctl enable-linger`, for nights on which you are not logged in",
    "github": "commit it; it needs a runner of your own",
}
_NEXT = {
    "crontab": "put these lines into `crontab -e`",
    "systemd": "with --write ~/.config/systemd/user, then: systemctl --user daemon-reload &&"
    " systemctl --user enable --now {timers}",
    "github": "with --write .github/workflows, on a runner of your own",
}


def _read_time(_context: click.Context, _option: click.Parameter, text: str) -> datetime.time:
    try:
        return datetime.datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise click.BadParameter(f"`{text}` is not a time of day such as 02:30") from None


def _check_duration(_context: click.Context, _option: click.Parameter, text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return text


@click.command()
@jobs_argument
@click.option(
    "--as",
    "kind",
    type=click.Choice(list(KINDS)),
    default="crontab",
    show_default=True,
    help="The scheduler to print it for.",
)
@click.option(
    "--at", metavar="HH:MM", default="02:30", show_default=True, callback=_read_time, help="The time of day."
)
@click.option(
    "--wait",
    metavar="DURATION",
    default="6h",
    show_default=True,
    callback=_check_duration,
    help="How long to wait for a run that is still at work.",
)
@click.option(
    "--deadline",
    metavar="DURATION",
    default="12h",
    show_default=True,
    callback=_check_duration,
    help="When to stop; what is in flight is left to the next run.",
)
@click.option("--yes", is_flag=True, help="Agree to costs above budget.confirm_usd.")
@trust_options
@click.option("--write", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Write files there.")
@common_options
def schedule(
    jobs: tuple[Path, ...],
    kind: str,
    at: datetime.time,
    wait: str,
    deadline: str,
    yes: bool,
    allow_env: tuple[str, ...],
    trust_job: bool,
    folder: Path | None,
) -> ExitCode:
    """Print a unit that runs JOB each day, and fetches what is in flight every hour.

    \b
    Examples:
      callsheet schedule jobs/nightly.yaml --at 03:00
      callsheet schedule jobs/*.yaml --as systemd --write ~/.config/systemd/user
    """
    options = LoadOptions(os.environ, frozenset(allow_env), trust_job)
    project, loaded = _load(jobs, options)
    nightly = Nightly(
        name=unit_name(Path(loaded[0].file).stem),
        command=_this_command(),
        root=project.root,
        jobs=[project.root / job.file for job in loaded],
        at=at,
        wait=wait,
        deadline=deadline,
        yes=yes,
        allow_env=allow_env,
        trust_job=trust_job,
        ping=VARIABLE in read_env(project.root, {}, allow=frozenset(allow_env)),
    )
    unwritable = next((word for word in (*nightly.run, *nightly.collect) if escape(word) != word), None)
    if unwritable is not None:
        raise UsageError(
            f"{escape(unwritable)}: a unit cannot hold line breaks, control and invisible characters",
            hint="rename the file or folder",
        )
    files = KINDS[kind](nightly)
    for job in loaded:
        _advise(job, project, yes=yes)
    if not nightly.ping and VARIABLE in read_env(project.root, {}, allow=frozenset({VARIABLE})):
        console.note(
            ".env names a monitor, which may have come with a checkout: it is not told of runs;"
            f" hint: if you wrote it, --allow-env {VARIABLE}"
        )
    _advise_of_notify(project, frozenset(allow_env))
    if folder is None:
        for name, text in files.items():
            if len(files) > 1:
                console.result(f"# ---- {name}")
            console.write(text)
    else:
        _write(files, folder.expanduser())
    timers = " ".join(name for name in files if name.endswith(".timer"))
    console.note(f"next: {(_NEXT if folder is None else _WRITTEN)[kind].format(timers=timers)}")
    return ExitCode.DONE


def _load(paths: tuple[Path, ...], options: LoadOptions) -> tuple[Project, list[Job]]:
    """The jobs, valid and all of one root. Raises JobError, NoProjectError, UsageError."""
    project = find_project(paths[0], root=common().root)
    jobs: list[Job] = []
    for path in paths:
        if find_project(path, root=common().root) != project:
            raise UsageError(f"{path}: in another project than {paths[0]}", hint="schedule each on its own")
        jobs.append(load_job(path, root=project.root, options=options))
    return project, jobs


def _advise(job: Job, project: Project, *, yes: bool) -> None:
    """Notes what would go wrong at night, when nobody is there."""
    if job.edition is None:
        console.note(
            f"{job.file}: without `edition:` the second night finds everything done and makes nothing new;"
            " hint: edition: ${{ run.date }}"
        )
    if job.budget.confirm_micros is not None and not yes:
        console.note(f"{job.file}: above budget.confirm_usd nobody is there to agree; hint: give --yes")
    own = next(iter(job.accounts))
    for account in job.accounts.values():
        variable = account.key_variable or None
        if account.name == own:
            variable = job.api_key_env or variable
        try:
            # as a unit finds it: nothing of this shell's environment
            found = read_env(project.root, {}, allow=frozenset(filter(None, (variable,))))
            account.provider.find_key(found, variable=variable)
        except CallsheetError:
            name = variable or account.provider.key_variables[0]
            hint = f"{name}=... in .env of the root"
            console.note(f"{job.file}: a unit does not see your shell's variables; hint: {hint}")


def _advise_of_notify(project: Project, allow_env: frozenset[str]) -> None:
    wanted = load_project_file(project.root).notify
    if wanted is None or not wanted.url_env:
        return
    if wanted.url_env not in read_env(project.root, {}, allow=allow_env):
        console.note(
            f"{PROJECT_FILE}: notify: a unit does not see {wanted.url_env};"
            f" hint: {wanted.url_env}=... in .env of the root, and --allow-env {wanted.url_env}"
        )


def _this_command() -> list[str]:
    """The command that starts this callsheet from any directory."""
    beside = Path(sys.executable).with_name("callsheet")
    found = str(beside) if beside.exists() else shutil.which("callsheet")
    # -P: no module is taken from the current directory
    return [str(Path(found).absolute())] if found else [sys.executable, "-P", "-m", "runner"]


def _write(files: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with replace_file(folder / name) as out:
                out.write(text.encode())
            console.summary(f"written: {shown_path(folder / name)}")
    except OSError as error:
        raise StateError(
            f"{folder}: cannot write: {error.strerror}", hint="choose another directory"
        ) from error
