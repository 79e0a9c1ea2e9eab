"""The hook for pre-commit and the GitHub action do what docs/how-to/ci.md says of them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

WRONG = "version: 1\nmodles: [byteplus/seedance-1-0-pro]\ncontent: [{type: text, text: A teapot}]\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout of job files: no project, for `.callsheet/` is never in git."""
    jobs = tmp_path / "film repo" / "jobs"
    jobs.mkdir(parents=True)
    for name, text in {"right one.yaml": WRONG.replace("modles", "models"), "wrong.yml": WRONG}.items():
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


def test_the_action_is_composite_and_uses_no_other_than_setup_python(action: dict[str, Any]) -> None:
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    assert [step["uses"].partition("@")[0] for step in steps if "uses" in step] == ["actions/setup-python"]
    assert all(step["shell"] == "bash" for step in steps if "run" in step)


def test_the_action_s_inputs_are_those_that_it_uses(action: dict[str, Any]) -> None:
    used = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", yaml.safe_dump(action["runs"])))
    assert used == action["inputs"].keys()
    assert all({"description", "default"} <= given.keys() for given in action["inputs"].values())


def test_no_value_of_a_workflow_is_pasted_into_the_action_s_shell(action: dict[str, Any]) -> None:
    """`${{ }}` in a script is text of the script: a file name of a pull request could be a command."""
    assert [step["run"] for step in action["runs"]["steps"] if "${{" in step.get("run", "")] == []


def _run(action: dict[str, Any], name: str, cwd: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """A step as GitHub runs it: https://docs.github.com/actions, `shell: bash`."""
    (step,) = (step for step in action["runs"]["steps"] if step.get("name") == name)
    assert step["env"].keys() <= variables.keys()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=cwd,
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_the_action_annotates_the_wrong_line(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    files = action["inputs"]["files"]["default"]
    code, told = _run(action, "Check job files", checkout, {**shell, "FILES": files})
    assert code == 65
    assert "::error file=jobs/wrong.yml,line=2" in told


def test_the_action_is_content_with_a_job_that_is_right(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    """A name may hold a space, and what looks like a command is a name."""
    (checkout / "jobs" / "$(touch pwned).yaml").write_text(WRONG.replace("modles", "models"))
    code, told = _run(
        action, "Check job files", checkout, {**shell, "FILES": "jobs/*.yaml\njobs/$(touch pwned).yaml\n"}
    )
    assert (code, told) == (0, "")
    assert not (checkout / "pwned").exists()


def test_the_action_says_when_no_file_matches(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str]
) -> None:
    code, told = _run(action, "Check job files", checkout, {**shell, "FILES": "films/*.yaml\n"})
    assert code == 66
    assert "::error::no job file matches: films/*.yaml" in told


def test_the_action_installs_the_source_that_it_came_with(
    action: dict[str, Any], checkout: Path, shell: Mapping[str, str], tmp_path: Path
) -> None:
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    code, told = _run(action, "Install callsheet", checkout, {**shell, "SOURCE": "/actions/call sheet"})
    assert (code, told.splitlines()[-1]) == (0, "/actions/call sheet")
