"""`init` makes a project; `schema` prints what editors check job files with."""

from __future__ import annotations

import contextlib
import secrets
import shlex
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.durable import replace_file
from runner.errors import NoProjectError, UsageError
from runner.ledger.open import has_ledger, open_reader
from runner.project import PROJECT_FILE, Project, find_project, init_project
from runner.providers import BUILT_IN, DEFAULT, every, find
from runner.resources import schema_path
from runner.spelling import did_you_mean

_JOB_SUFFIXES = {".yaml", ".yml"}
_JOB_SCHEMA = "job"
_PROJECT_SCHEMA = "project"
_SUFFIX = ".schema.json"
_WHERE_LINES_STAND = {_JOB_SCHEMA: "each job file", _PROJECT_SCHEMA: PROJECT_FILE}
_EDITOR_LINE = "# yaml-language-server: $schema={}"
"""The first line of a job or project file, for editors; the path is relative to that file.

https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
"""

_PROJECT_FILE = (
    _EDITOR_LINE.format(f".callsheet/{_PROJECT_SCHEMA}{_SUFFIX}")
    + """
#
# What holds for all jobs of this project. Keep this file in git.
version: 1
project: "%(project)s"            # this project's ledger has the same id
# timezone: Europe/Berlin      # of run.date, of budgets, and of every day that is shown
#
# accounts:                    # names for keys; each provider is an account of its own name
#   acme: {provider: %(default)s, api_key_env: ACME_KEY, rate: 60/min, labels: {client: acme}}
#   gpu: {provider: %(server)s, base_url: "http://gpu-box:8000%(path)s", dialect: %(dialect)s}
#   %(tagged)s: {tag: %(tag)s}     # the request field that marks our submits
#
# budgets:                     # never more than this, over all jobs and runs
#   - {month: {max_usd: 900, max_tasks: 3000}}
#   - {where: {account: acme}, day: {max_usd: 50}}
#   - {where: {label.client: acme}, month: {max_usd: 300}}
#
# prices:                      # what you pay; a job's own `price` comes first
#   byteplus/dreamina-seedance-2-0: {usd_per_mtok: 7.0}
#
# ledger: {url_env: CALLSHEET_LEDGER}      # in PostgreSQL, shared by several machines
#
# store: s3://studio-takes/callsheet       # finished files go there too
# store_keep: 7d                           # and stay here for so long
# uploads: s3://studio-inputs/callsheet    # for inputs that a service takes as URLs only
# inputs: [s3://studio-refs]               # where jobs may name inputs
#
# trust_env: true              # use the proxy and the certificates that the environment names
#
# notify: {on: [failed, held, budget, done], url_env: NOTIFY_URL}
"""
)

_FIRST_JOB = f"""\
{_EDITOR_LINE.format(f"../.callsheet/{_JOB_SCHEMA}{_SUFFIX}")}
#
# Rehearse this file, free and offline:   callsheet run jobs/hello.yaml --sandbox
# See what it would run:                  callsheet plan jobs/hello.yaml
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2                    # two takes of each shot, each repeatable by its seed
matrix:
  ratio: [16:9, 9:16]          # named like a field of the request, so it sets that field
request:
  resolution: 480p
  duration: 4                  # seconds
content:
  - type: text
    text: A paper boat crosses a rain puddle, close to the water, soft light
output: out/boat-${{{{ ratio }}}}-s${{{{ seed }}}}.mp4
"""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@common_options
def init(directory: Path | None) -> None:
    """Make DIRECTORY (default: this one) a project root, with a first job file to try.

    The root holds the ledger, the runs and the outputs, and `callsheet.yaml`, the project file. Files
    that are there stay as they are.

    \b
    Examples:
      callsheet init
      callsheet init films/teapot
    """
    place = directory or common().root or Path()
    try:
        project = init_project(place)
        for name in (_JOB_SCHEMA, _PROJECT_SCHEMA):
            _write_schema(name, project.state_dir / f"{name}{_SUFFIX}")
        _write_project_file(project)
        first_job = _write_first_job(project)
        # keeps keys, videos and runs out of git
        with contextlib.suppress(FileExistsError), (project.root / ".gitignore").open("x") as file:
            file.write("/.env\n/out/\n/rehearsal/\n/runs/\n")
    except OSError as error:
        raise NoProjectError(
            f"{place}: cannot make a project: {error.strerror}", hint="choose a directory that you can write"
        ) from error
    console.summary(f"project: {project.root}")
    if first_job is None:
        console.note("its job files stay as they are; `callsheet plan JOB` shows what one would run")
    else:
        shown = shown_path(first_job)
        console.summary(f"job:     {shown}")
        console.next_step(f"callsheet run {shlex.quote(shown)} --sandbox", "rehearses it, free and offline")


def _write_project_file(project: Project) -> None:
    """Writes callsheet.yaml where there is none; its id is that of a ledger that is there already."""
    kept = ""
    if has_ledger(project):
        with contextlib.closing(open_reader(project)) as ledger:
            kept = ledger.project
    with contextlib.suppress(FileExistsError), (project.root / PROJECT_FILE).open("x") as file:
        file.write(_PROJECT_FILE % {"project": kept or secrets.token_hex(4), **_examples()})


def _examples() -> dict[str, str]:
    """Providers that show what an account may say."""
    server = next(each for each in BUILT_IN.values() if each.dialects)
    tagged = next(each for each in BUILT_IN.values() if each.tags)
    return {
        "default": DEFAULT.name,
        "server": server.name,
        "path": server.base_path,
        "dialect": next(iter(server.dialects)),
        "tagged": tagged.name,
        "tag": next(iter(tagged.tags)),
    }


def _write_first_job(project: Project) -> Path | None:
    """Writes jobs/hello.yaml where jobs/ holds no job file yet."""
    jobs = project.root / "jobs"
    jobs.mkdir(exist_ok=True)
    if any(file.suffix in _JOB_SUFFIXES for file in jobs.iterdir()):
        return None
    hello = jobs / "hello.yaml"
    hello.write_text(_FIRST_JOB, encoding="utf-8")
    return hello


@click.command()
@click.argument("name", default=_JOB_SCHEMA)
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value="",
    metavar="[PATH]",
    help="Write it to PATH instead; without PATH beside the files that it is for.",
)
@common_options
def schema(name: str, target: Path | None) -> None:
    """Print the JSON Schema NAME: job (the default), project, manifest, or PROVIDER-request.

    With --write it goes into a file, which may be committed. Printed is then the line to put on top of
    job files, so that editors complete and check them.

    \b
    Examples:
      callsheet schema manifest
      callsheet schema --write
    """
    if target is None:
        console.block(_shipped(name).read_text(encoding="utf-8").rstrip())
        return
    if target == Path():
        root = find_project(Path(), root=common().root).root
        target = root if name == _PROJECT_SCHEMA else root / "jobs"
        target.mkdir(exist_ok=True)
    written = target / f"{name}{_SUFFIX}" if target.is_dir() else target
    _write_schema(name, written)
    console.note(f"schema: {shown_path(written)}")
    if name in _WHERE_LINES_STAND:
        console.result(_EDITOR_LINE.format(written.name))
        console.note(f"next: put this line on top of {_WHERE_LINES_STAND[name]} beside it")


def _shipped(name: str) -> Path:
    """The file of the schema `name`. Raises UsageError."""
    provider, request, _ = name.partition("-request")
    known = find(provider) if request else None
    try:
        return schema_path(name) if known is None else known.schema_file
    except FileNotFoundError as error:
        names = ["job", "project", "manifest", *(f"{each}-request" for each in every())]
        hint = did_you_mean(name, names) or f"the schemas are {', '.join(names)}"
        raise UsageError(f"no schema `{name}`", hint=hint) from error


def _write_schema(name: str, target: Path) -> None:
    """Replaces an older one. Raises StateError, UsageError."""
    with replace_file(target) as file:
        file.write(_shipped(name).read_bytes())
    target.chmod(0o644)
