"""`init`: the one verb that makes a project."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from runner.cli import console
from runner.cli.options import common, common_options
from runner.errors import NoProjectError
from runner.project import Project, init_project
from runner.resources import schema_path

_JOB_SUFFIXES = {".yaml", ".yml"}
_SCHEMA_FILE = "job.schema.json"

_FIRST_JOB = f"""\
# yaml-language-server: $schema=../.callsheet/{_SCHEMA_FILE}
#
# Rehearse this file, free and offline:   callsheet run jobs/hello.yaml --sandbox
# See what it would run:                  callsheet plan jobs/hello.yaml
version: 1
models: [byteplus/seedance-1-5-pro]
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

    Ledger, runs and outputs hang on the root. A directory that has job files keeps them as they are.

    \b
    Examples:
      callsheet init
      callsheet init films/teapot
    """
    place = directory or common().root or Path()
    try:
        project = init_project(place)
        (project.state_dir / _SCHEMA_FILE).write_bytes(schema_path("job").read_bytes())
        first_job = _write_first_job(project)
    except OSError as error:
        raise NoProjectError(
            f"{place}: cannot make a project: {error.strerror}", hint="choose a directory that you can write"
        ) from error
    console.summary(f"project: {project.root}")
    if first_job is not None:
        console.summary(f"job:     {first_job}")
        console.next_step(
            f"callsheet run {shlex.quote(str(first_job))} --sandbox", "rehearses it, free and offline"
        )


def _write_first_job(project: Project) -> Path | None:
    """Writes jobs/hello.yaml where jobs/ holds no job file yet; gives it as seen from here."""
    jobs = project.root / "jobs"
    jobs.mkdir(exist_ok=True)
    if any(file.suffix in _JOB_SUFFIXES for file in jobs.iterdir()):
        return None
    hello = jobs / "hello.yaml"
    hello.write_text(_FIRST_JOB, encoding="utf-8")
    here = Path.cwd()
    return hello.relative_to(here) if hello.is_relative_to(here) else hello
