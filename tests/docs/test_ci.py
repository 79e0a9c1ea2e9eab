"""The hook for pre-commit and the GitHub action do what docs/how-to/ci.md says of them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.cli.plan_comment import MOST_CHARACTERS
from tests.docs.pages import ROOT, read_page
from tests.support.evidence import evidence_but
from tests.support.github_api import GitHubApi, github_api
from tests.support.hosted_runner import HostedRunner, commit, install_commands, make_repository

RIGHT = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\ncontent: [{type: text, text: A teapot}]\n"
WRONG = "version: 1\nmodles: [byteplus/seedance-1-0-pro]\ncontent: [{type: text, text: A teapot}]\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout of job files: no project, for `.callsheet/` is never in git."""
    jobs = tmp_path / "film repo" / "jobs"
    jobs.mkdir(parents=True)
    for name, text in {"right one.yaml": RIGHT, "wrong.yml": WRONG}.items():
        (jobs / name).write_text(text)
    return jobs.parent


@pytest.fixture(scope="module")
def hook() -> dict[str, Any]:
    (only,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    read = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def test_the_hook_has_what_pre_commit_asks_of_one(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language", "files"} <= hook.keys()
    assert hook["language"] == "python"


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("jobs/a.yaml", True),
        ("jobs/a b.yml", True),
        ("jobs/assets/facts.yaml", False),
        ("old/jobs/a.yaml", False),
        ("jobs/job.schema.json", False),
    ],
)
def test_the_hook_takes_job_files_and_nothing_else(hook: dict[str, Any], path: str, is_taken: bool) -> None:
    """pre-commit looks for `files` with `re.search` in the path from the repository's top."""
    assert bool(re.search(hook["files"], path)) is is_taken


@pytest.mark.parametrize(("name", "code"), [("right one.yaml", 0), ("wrong.yml", 65)])
def test_the_hook_s_command_stops_a_commit_with_a_wrong_job(
    hook: dict[str, Any], name: str, code: int, checkout: Path, shell: Mapping[str, str]
) -> None:
    done = subprocess.run(
        [*shlex.split(hook["entry"]), f"jobs/{name}"], cwd=checkout, env=dict(shell), capture_output=True
    )
    assert done.returncode == code
    assert (done.stdout, done.stderr) == (b"", b"") if code == 0 else b"did you mean `models`?" in done.stderr


def test_the_action_is_composite_and_uses_github_s_own_actions_alone(action: dict[str, Any]) -> None:
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    used = [step["uses"].partition("@")[0] for step in steps if "uses" in step]
    assert used == ["actions/setup-python", "actions/upload-artifact"]
    assert all(step["shell"] == "bash" for step in steps if "run" in step)


def test_the_action_s_inputs_are_those_that_it_uses(action: dict[str, Any]) -> None:
    used = set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(action["runs"])))
    assert used == action["inputs"].keys()
    assert all({"description", "default"} <= given.keys() for given in action["inputs"].values())


def test_no_value_of_a_workflow_is_pasted_into_the_action_s_shell(action: dict[str, Any]) -> None:
    """`${{ }}` in a script is text of the script: a file name of a pull request could be a command."""
    assert [step["run"] for step in action["runs"]["steps"] if "${{" in step.get("run", "")] == []


@dataclass(slots=True)
class _Hosted:
    """A repository with the workflow of the page, on a hosted runner."""

    runner: HostedRunner
    github: GitHubApi
    commands: Path

    @property
    def output(self) -> str:
        return "".join(step.output for step in self.runner.steps)

    def write(self, name: str, text: str) -> None:
        (self.runner.repository / name).write_text(text, encoding="utf-8")
        commit(self.runner.repository)


@pytest.fixture
def hosted(tmp_path: Path, action: dict[str, Any]) -> Iterator[_Hosted]:
    files = {"callsheet.yaml": "version: 1\n", "jobs/tea.yaml": RIGHT}
    repository = make_repository(tmp_path / "film repo", files)
    with github_api() as github:
        environment = {**install_commands(tmp_path / "bin"), "GITHUB_API_URL": github.url}
        runner = HostedRunner(repository, tmp_path, _workflow("videos"), action, environment)
        runner.secrets = {"CALLSHEET_LEDGER_READER": "postgresql://reader:canary@db.example/film"}
        yield _Hosted(runner, github, tmp_path / "bin")


def _workflow(name: str) -> dict[str, Any]:
    page = read_page(ROOT / "docs/how-to/ci.md")
    (block,) = (each for each in page.blocks if each.words == (f".github/workflows/{name}.yml",))
    found = yaml.safe_load(block.body)
    assert isinstance(found, dict)
    return found


def test_a_pull_request_gets_its_plan_as_one_comment_that_each_commit_changes(hosted: _Hosted) -> None:
    hosted.github.add(7, "<!-- callsheet plan of plan -->\nby somebody else")
    for number in range(120):
        hosted.github.add(7, f"talk {number}")
    assert hosted.runner.trigger("pull_request") == {"plan": True}
    *_, comment = hosted.github.bodies(7)
    assert comment.startswith("<!-- callsheet plan of plan -->\n### `jobs/tea.yaml`: 1 task to make, ")
    assert "To make what is new: `callsheet run jobs/tea.yaml`" in comment
    assert comment.endswith(hosted.runner.summary)
    hosted.write("jobs/tea.yaml", RIGHT + "samples: 3\n")
    assert hosted.runner.trigger("pull_request") == {"plan": True}
    bodies = hosted.github.bodies(7)
    assert len(bodies) == 122
    assert "`jobs/tea.yaml`: 3 tasks to make" in bodies[-1]
    assert bodies[0].endswith("by somebody else")
    assert (hosted.commands / "pip.txt").read_text().splitlines()[-1] == f"{ROOT}[objects,postgres]"


@pytest.mark.evidence
def test_a_pull_request_with_a_wrong_job_is_told_so_in_the_place_of_its_plan(hosted: _Hosted) -> None:
    assert hosted.runner.trigger("pull_request") == {"plan": True}
    hosted.write("jobs/tea.yaml", WRONG)
    hosted.write("jobs/b.yml", RIGHT)
    assert hosted.runner.trigger("pull_request") == {"plan": False}
    assert "::error file=jobs/tea.yaml,line=2" in hosted.output
    (comment,) = hosted.github.bodies(7)
    assert "### `jobs/tea.yaml`: cannot be planned" in comment
    assert "### `jobs/b.yml`: 1 task to make" in comment


def test_a_stranger_s_pull_request_is_planned_without_secrets_and_without_a_comment(hosted: _Hosted) -> None:
    """The ledger is named and its URL is not given; nothing but the summary says what it would cost."""
    hosted.write("callsheet.yaml", "version: 1\nledger: {url_env: CALLSHEET_LEDGER}\n")
    assert hosted.runner.trigger("pull_request", is_fork=True) == {"plan": True}
    assert hosted.github.bodies(7) == []
    assert "::notice::no comment: the token may not write one (403)" in hosted.output
    assert "### `jobs/tea.yaml`: 1 task to make" in hosted.runner.summary
    assert "Planned without a ledger" in hosted.runner.summary


@pytest.mark.evidence
def test_a_comment_of_many_job_files_still_fits(hosted: _Hosted) -> None:
    """GitHub refuses one of more than 65,536 characters, which its server here does too. Plans are as long as
    they can be.
    """
    long = "tea " * (MOST_CHARACTERS // 4)
    (hosted.commands / "callsheet").write_text(f'#!/bin/sh\n[ "$1" = validate ] || echo "$5: {long}"\n')
    for number in range(4):
        hosted.write(f"jobs/{number}.yaml", RIGHT)
    assert hosted.runner.trigger("pull_request") == {"plan": True}
    (comment,) = hosted.github.bodies(7)
    assert comment.endswith("tea \nThe plans of 2 more job files are in the summary of this check.\n")
    assert "jobs/3.yaml: tea" in hosted.runner.summary


def test_no_option_and_no_file_name_is_read_as_a_command_or_a_pattern(hosted: _Hosted) -> None:
    hosted.write("jobs/$(touch pwned) *.yaml", RIGHT)
    plan = hosted.runner.workflow["jobs"]["plan"]["steps"][1]["with"]
    plan["options"] = "--only=*\n--date=2026-05-31+02:00\n"
    assert hosted.runner.trigger("pull_request") == {"plan": True}
    (comment,) = hosted.github.bodies(7)
    assert "`jobs/$(touch pwned) *.yaml`: 1 task to make" in comment
    assert "--only '*'" in comment
    assert not [*hosted.runner.place.rglob("pwned")]


def _run(action: dict[str, Any], name: str, cwd: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """A step as GitHub runs it: https://docs.github.com/actions, `shell: bash`."""
    (step,) = (step for step in action["runs"]["steps"] if step.get("name") == name)
    assert step.get("env", {}).keys() <= variables.keys()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=cwd,
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def _check(action: dict[str, Any], checkout: Path, shell: Mapping[str, str], files: str) -> tuple[int, str]:
    variables = {**shell, "RUNNER_TEMP": str(checkout.parent), "FILES": files}
    code, told = _run(action, "Find job files", checkout, variables)
    return (code, told) if code else _run(action, "Check job files", checkout, variables)


def test_the_action_annotates_the_wrong_line(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    code, told = _check(action, checkout, shell, action["inputs"]["files"]["default"])
    assert code == 65
    assert "::error file=jobs/wrong.yml,line=2" in told


def test_the_action_is_content_with_a_job_that_is_right(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    """A name may hold a space, and what looks like a command is a name."""
    (checkout / "jobs" / "$(touch pwned).yaml").write_text(RIGHT)
    files = "jobs/*.yaml\njobs/$(touch pwned).yaml\n"
    assert _check(action, checkout, shell, files) == (0, "")
    assert not (checkout / "pwned").exists()


@pytest.mark.parametrize(
    "folder", evidence_but("jobs/spring/tea".__eq__, ["jobs", "jobs/spring", "jobs/spring/tea"])
)
def test_two_stars_of_a_pattern_are_every_folder_as_in_a_workflow(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str], folder: str
) -> None:
    """A job file that is left out would be neither checked nor planned, and nobody told."""
    (checkout / "jobs" / "spring" / "tea").mkdir(parents=True)
    (checkout / "jobs" / "wrong.yml").rename(checkout / folder / "wrong.yml")
    code, told = _check(action, checkout, shell, "jobs/**/*.yml\n")
    assert code == 65
    assert f"::error file={folder}/wrong.yml,line=2" in told


def test_the_action_says_when_no_file_matches(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    code, told = _check(action, checkout, shell, "films/*.yaml\n")
    assert code == 66
    assert "::error::no job file matches: films/*.yaml" in told


def test_the_action_installs_the_source_that_it_came_with(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str], tmp_path: Path
) -> None:
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    code, told = _run(
        action, "Install callsheet", checkout, {**shell, "SOURCE": "/actions/call sheet", "EXTRAS": ""}
    )
    assert (code, told.splitlines()[-1]) == (0, "/actions/call sheet")
