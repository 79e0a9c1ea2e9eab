"""`validate`: every problem of job files, for a person, a program or a pull request."""

from __future__ import annotations

import os
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.jobs import load, plan_of, project_or_here
from runner.cli.next_commands import command
from runner.cli.options import JobOptions, ServiceOptions, job_options, jobs_argument, output_format
from runner.cli.problems import show, show_warnings
from runner.errors import ExitCode, JobError, Problem
from runner.job.project.load_project import load_project_file
from runner.json_value import JsonValue
from runner.plural import count
from runner.project import PROJECT_FILE, Project
from runner.redact import json_text


@click.command()
@jobs_argument
@job_options
@output_format("json", "jsonl", "github")
@common_options
def validate(jobs: tuple[Path, ...], job_options: JobOptions, output_format: str) -> ExitCode:
    """Check job files and the project file: every problem with its line, its column and what to do.

    No service is asked, and neither a key nor a project is needed: in a fresh checkout the working
    directory is the root. Exit code 65 where a file is wrong, 66 where only its inputs are missing.

    \b
    Examples:
      callsheet validate jobs/*.yaml
      callsheet validate --output-format github jobs/*.yaml    in a pull request's workflow
    """
    codes: list[ExitCode] = []
    found: dict[tuple[Path, Problem], None] = {}
    no_warnings: tuple[Problem, ...] = ()
    for file in jobs:
        project = project_or_here(file)
        try:
            if file.resolve() == project.root / PROJECT_FILE:
                load_project_file(project.root)
                words, warnings, shown = "valid", no_warnings, PROJECT_FILE
            else:
                # in the sandbox every account has an address, and nothing is asked here
                loaded = load(file, ServiceOptions(sandbox=True), job_options, project=project)
                checked = plan_of(loaded, job_options)
                words = f"valid, {count(checked.count, 'task')}"
                warnings, shown = checked.warnings, checked.job.file
        except JobError as error:
            codes.append(error.exit_code)
            # one project file may stop many jobs
            hurt = project.root / PROJECT_FILE if error.file == PROJECT_FILE else file
            told = dict.fromkeys((_stands_in(problem, hurt, project), problem) for problem in error.problems)
            if output_format == "text" and told.keys() - found.keys():
                show(error)
            found |= told
            continue
        codes.append(ExitCode.DONE)
        found |= dict.fromkeys((_stands_in(problem, file, project), problem) for problem in warnings)
        if output_format == "text":
            show_warnings(warnings, shown)
            console.summary(f"{file}: {words}")
    match output_format:
        case "json":
            console.result(json_text([_fields(problem, file) for file, problem in found]))
        case "jsonl":
            console.json_lines(_fields(problem, file) for file, problem in found)
        case "github":
            for file, problem in found:
                console.result(_annotation(problem, file))
        case _ if set(codes) == {ExitCode.DONE} and jobs[0].name != PROJECT_FILE:
            console.next_step(command("plan", str(jobs[0])), "shows what it would run")
    return ExitCode.first(codes)


def _stands_in(problem: Problem, job: Path, project: Project) -> Path:
    """The file to change: the job file as it was given, or a further one that it reads."""
    return Path(os.path.relpath(project.root / problem.file)) if problem.file else job


def _fields(problem: Problem, file: Path) -> dict[str, JsonValue]:
    """A problem as JSON."""
    return {
        "file": str(file),
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
    }


def _annotation(problem: Problem, file: Path) -> str:
    """A workflow command of GitHub Actions, which the service shows at the line of a pull request.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    path = os.path.relpath(file)
    place = f"file={_property(path)},line={problem.line},col={problem.column},title={_property('callsheet')}"
    hint = f"; hint: {problem.hint}" if problem.hint else ""
    said = f"{problem.path}: {problem.message}{hint}" if problem.path else f"{problem.message}{hint}"
    return f"::{problem.severity} {place}::{_data(said)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
