"""`schedule`: prints the unit that starts jobs by themselves."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from pathlib import Path

import click

from runner.cli import console
from runner.cli.options import common, common_options, trust_options
from runner.cli.pings import VARIABLE
from runner.cli.units import KINDS, Nightly, UnitFile, unit_name
from runner.cli.words import shown_path
from runner.durable import replace_file
from runner.errors import CallsheetError, ExitCode, StateError, UsageError
from runner.job.environment import read_env
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.job.policy import parse_duration
from runner.project import Project, find_project
from runner.redact import escape

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
@click.argument("jobs", type=click.Path(path_type=Path), metavar="JOB...", nargs=-1, required=True)
@click.option(
    "--as", "kind", type=click.Choice(list(KINDS)), default="crontab", show_default=True, help="For what."
)
@click.option(
    "--at", metavar="HH:MM", default="02:30", show_default=True, callback=_read_time, help="Each day at."
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
    help="When to stop, with what is in flight left to the next run.",
)
@click.option("--yes", is_flag=True, help="Agree to what runs cost above budget.confirm_usd.")
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
    """Print what starts JOB each day by itself, and fetches what is in flight every hour.

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
    unsayable = nightly.unsayable()
    if unsayable is not None:
        raise UsageError(
            f"{escape(unsayable)}: line breaks, control characters and invisible characters cannot stand in a"
            " unit",
            hint="rename the file or folder",
        )
    files = KINDS[kind](nightly)
    for job in loaded:
        _advise(job, project, yes=yes)
    if not nightly.ping and VARIABLE in read_env(project.root, {}, allow=frozenset({VARIABLE})):
        console.note(
            f".env names a monitor, which may have come with a checkout: it is not told of runs;"
            f" hint: if you wrote it, --allow-env {VARIABLE}"
        )
    if folder is None:
        _print(files)
    else:
        _write(files, folder.expanduser())
    timers = " ".join(file.name for file in files if file.name.endswith(".timer"))
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
    """What a night shift stumbles over, told by day."""
    if job.edition is None:
        console.note(
            f"{job.file}: without `edition:` the second night finds everything done and makes nothing new;"
            " hint: edition: ${{ run.date }}"
        )
    if job.budget.confirm_micros is not None and not yes:
        console.note(f"{job.file}: above budget.confirm_usd nobody is there to agree; hint: give --yes")
    try:
        # as a unit finds it: nothing of this shell's environment
        own = frozenset({job.api_key_env} if job.api_key_env else ())
        found = read_env(project.root, {}, allow=own)
        job.provider.find_key(found, variable=job.api_key_env)
    except CallsheetError:
        name = job.api_key_env or job.provider.key_variables[0]
        console.note(
            f"{job.file}: a unit has no variables of your shell; hint: {name}=... in .env of the root"
        )


def _this_command() -> list[str]:
    """How this callsheet is called from anywhere."""
    beside = Path(sys.executable).with_name("callsheet")
    found = str(beside) if beside.exists() else shutil.which("callsheet")
    # -P: no module of the directory it is started in
    return [str(Path(found).absolute())] if found else [sys.executable, "-P", "-m", "runner"]


def _print(files: list[UnitFile]) -> None:
    for file in files:
        if len(files) > 1:
            console.result(f"# ---- {file.name}")
        console.write(file.text)


def _write(files: list[UnitFile], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            with replace_file(folder / file.name) as out:
                out.write(file.text.encode())
            console.summary(f"written: {shown_path(folder / file.name)}")
    except OSError as error:
        raise StateError(
            f"{folder}: cannot write: {error.strerror}", hint="choose another directory"
        ) from error
