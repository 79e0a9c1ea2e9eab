"""Hosted CI: the workflow of docs/how-to/ci.md and action.yml, each step in a new clone with an empty home.

The service is a real server on loopback that an account names, the ledger lies in PostgreSQL.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.command_process import CHECKOUT, callsheet
from tests.support.github_api import GitHubApi, github_api
from tests.support.hosted_runner import HostedRunner, install_commands, make_repository, read_action
from tests.support.markdown_blocks import block_of
from tests.support.postgres import PASSWORD

PROJECT = """\
version: 1
project: "7f3a9c12"
accounts:
  studio: {{provider: mesh, base_url: "{url}"}}
ledger: {{url_env: CALLSHEET_LEDGER}}
"""
JOB = """\
version: 1
models: [{id: byteplus/seedance-1-0-pro, at: studio}]
samples: 6
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A paper boat}]
output: out/${{ sample }}.mp4
price: {usd_per_task: 0.25}
run: {concurrency: 3, poll: {first: 50ms, min: 50ms, max: 100ms}}
"""


@pytest.fixture
def service() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.5, 0.8), scale=0.05)) as running:
        yield running


@dataclass(slots=True)
class Studio:
    """A repository with its hosted runner, and all that is kept from one of its starts to the next."""

    runner: HostedRunner
    service: SandboxServer
    github: GitHubApi
    ledger: str

    @property
    def output(self) -> str:
        return "\n".join(f"== {step.name}: {step.code}\n{step.output}" for step in self.runner.steps)

    def code_of(self, step: str) -> int:
        (code,) = (each.code for each in self.runner.steps if each.name == step)
        return code

    def ask(self, *words: str) -> Any:
        """What a verb says on somebody's own machine, in a clone of its own."""
        clone = self.runner.place / "own"
        if not clone.exists():
            self.runner.clone(clone)
        done = callsheet(*words, cwd=clone, CALLSHEET_LEDGER=self.ledger, MESHAPI_API_KEY=SANDBOX_KEY)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def studio(tmp_path: Path, service: SandboxServer, ledger_url: str) -> Iterator[Studio]:
    files = {"callsheet.yaml": PROJECT.format(url=service.url), "jobs/boat.yaml": JOB}
    repository = make_repository(tmp_path / "film", files)
    with github_api() as github:
        environment = {**install_commands(tmp_path / "bin"), "GITHUB_API_URL": github.url}
        workflow = block_of(CHECKOUT / "docs/how-to/ci.md", ".github/workflows/videos.yml")
        runner = HostedRunner(repository, tmp_path, yaml.safe_load(workflow), read_action(), environment)
        runner.secrets = {
            "CALLSHEET_LEDGER": ledger_url,
            "CALLSHEET_LEDGER_READER": ledger_url,
            "MESHAPI_API_KEY": SANDBOX_KEY,
        }
        found = Studio(runner, service, github, ledger_url)
        found.ask("-q", "init")
        found.ask("-q", "collect")
        yield found


def test_a_merge_makes_the_videos_once_and_the_plan_knows_it(studio: Studio) -> None:
    assert studio.runner.trigger("pull_request") == {"plan": True}, studio.output
    assert "6 tasks to make, about USD 1.50" in studio.github.bodies(7)[-1]
    assert studio.runner.trigger("push") == {"run": True}, studio.output
    assert studio.runner.trigger("push") == {"run": True}, studio.output
    assert studio.service.accepted == 6
    assert studio.runner.trigger("pull_request") == {"plan": True}
    assert "nothing to make" in studio.github.bodies(7)[-1]
    assert studio.runner.trigger("schedule") == {"collect": True}, studio.output


def test_a_machine_that_is_killed_in_the_middle_loses_nothing_and_pays_once(studio: Studio) -> None:
    is_killed = False

    def kill(step: str) -> signal.Signals | None:
        nonlocal is_killed
        if step != "Work" or is_killed or studio.service.accepted < 2:
            return None
        is_killed = True
        return signal.SIGKILL

    studio.runner.signal_for = kill
    assert studio.runner.trigger("push") == {"run": False}, studio.output
    assert is_killed
    assert studio.code_of("Sign off") == 0, studio.output
    assert studio.runner.trigger("schedule") == {"collect": True}, studio.output
    assert studio.runner.trigger("push") == {"run": True}, studio.output
    assert studio.service.accepted == 6
    assert PASSWORD not in studio.output
