"""Hosted CI: the workflow of docs/how-to/ci.md and action.yml, each step in a new clone with an empty home.

The service is a real server on loopback that an account names, the ledger lies in PostgreSQL.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.command_process import CHECKOUT, callsheet
from tests.support.github_api import GitHubApi, github_api
from tests.support.hosted_runner import HostedRunner, install_commands, make_repository, read_action
from tests.support.markdown_blocks import block_of
from tests.support.postgres import PASSWORD, Cluster
from tests.support.s3 import S3, SECRET

PROJECT = """\
version: 1
project: "7f3a9c12"
accounts:
  studio: {{provider: mesh, base_url: "{url}"}}
ledger: {{url_env: CALLSHEET_LEDGER}}
store: "s3://{bucket}/film"
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
    with SandboxServer(SandboxConfig(latency=(8.0, 10.0), scale=0.05)) as running:
        yield running


@dataclass(slots=True)
class Studio:
    """A repository with its hosted runner, and all that is kept from one of its starts to the next."""

    runner: HostedRunner
    service: SandboxServer
    github: GitHubApi
    ledger: str
    s3: S3
    bucket: str

    everything: str = ""
    """What all steps have printed so far."""

    def trigger(self, event: str) -> dict[str, bool]:
        ended = self.runner.trigger(event)
        self.everything += self.output + self.runner.summary
        return ended

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
        given = {**self.s3.environment(), "CALLSHEET_LEDGER": self.ledger, "MESHAPI_API_KEY": SANDBOX_KEY}
        done = callsheet(*words, cwd=clone, **given)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def studio(tmp_path: Path, service: SandboxServer, ledger_url: str, s3: S3) -> Iterator[Studio]:
    bucket = s3.bucket()
    project = PROJECT.format(url=service.url, bucket=bucket)
    files = {"callsheet.yaml": project, "jobs/boat.yaml": JOB}
    repository = make_repository(tmp_path / "film", files)
    with github_api() as github:
        environment = {
            **install_commands(tmp_path / "bin"),
            "GITHUB_API_URL": github.url,
            "AWS_ENDPOINT_URL": s3.url,
        }
        workflow = block_of(CHECKOUT / "docs/how-to/ci.md", ".github/workflows/videos.yml")
        runner = HostedRunner(repository, tmp_path, yaml.safe_load(workflow), read_action(), environment)
        runner.secrets = {
            "CALLSHEET_LEDGER": ledger_url,
            "CALLSHEET_LEDGER_READER": ledger_url,
            "MESHAPI_API_KEY": SANDBOX_KEY,
            "AWS_ACCESS_KEY_ID": s3.environment()["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        runner.variables = {"AWS_REGION": "us-east-1"}
        found = Studio(runner, service, github, ledger_url, s3, bucket)
        found.ask("-q", "init")
        found.ask("-q", "collect")
        yield found


def _once(studio: Studio, sent: signal.Signals) -> list[str]:
    """Ends the next run in its middle by this signal; the list is not empty once it has."""
    told: list[str] = []

    def signal_for(step: str) -> signal.Signals | None:
        if step != "Work" or told or studio.service.accepted < 2:
            return None
        told.append(step)
        return sent

    studio.runner.signal_for = signal_for
    return told


def _check_the_end(studio: Studio) -> None:
    """Each video is paid for once and lies in the store, and no secret was printed."""
    assert studio.service.accepted == 6
    assert sum(key.startswith("film/sha256/") for key in studio.s3.keys(studio.bucket)) == 6
    shown = json.loads(studio.ask("plan", "jobs/boat.yaml", "--output-format", "json"))
    assert shown["counts"] == {"done": 6}
    assert "USD 1.50" in studio.ask("spend")
    for secret in (PASSWORD, SECRET, SANDBOX_KEY):
        assert secret not in studio.everything


@pytest.mark.evidence
def test_a_run_that_is_cancelled_goes_on_in_new_clones_and_pays_once(studio: Studio) -> None:
    """A pull request, its merge, a person who cancels that, the hour's `collect`, one more merge."""
    assert studio.trigger("pull_request") == {"plan": True}, studio.output
    assert "6 tasks to make, about USD 1.50" in studio.github.bodies(7)[-1]
    cancelled = _once(studio, signal.SIGTERM)
    assert studio.trigger("push") == {"run": False}, studio.output
    assert cancelled, studio.output
    assert (studio.code_of("Work"), studio.code_of("Sign off")) == (ExitCode.TERMINATED, 0), studio.output
    (runs,) = studio.runner.artifacts
    assert {path.name for path in runs.glob("*/*")} >= {"manifest.json", "report.html", "events.jsonl"}
    assert studio.trigger("schedule") == {"collect": True}, studio.output
    assert studio.trigger("push") == {"run": True}, studio.output
    assert studio.trigger("pull_request") == {"plan": True}, studio.output
    assert "### `jobs/boat.yaml`: nothing to make" in studio.github.bodies(7)[-1]
    _check_the_end(studio)


@pytest.mark.evidence
def test_a_machine_that_is_killed_in_the_middle_loses_nothing_and_pays_once(studio: Studio) -> None:
    """Signing off looks for a sign of life for 25 s."""
    killed = _once(studio, signal.SIGKILL)
    assert studio.trigger("push") == {"run": False}, studio.output
    assert killed
    assert studio.code_of("Sign off") == 0, studio.output
    assert studio.trigger("schedule") == {"collect": True}, studio.output
    assert studio.trigger("push") == {"run": True}, studio.output
    _check_the_end(studio)


def test_a_new_clone_never_begins_on_an_empty_ledger(studio: Studio, cluster: Cluster) -> None:
    """A URL that leads somewhere else by mistake would buy everything again."""
    studio.runner.secrets = {**studio.runner.secrets, "CALLSHEET_LEDGER": cluster.make_schema()}
    assert studio.trigger("push") == {"run": False}
    assert studio.code_of("Work") == ExitCode.NO_PROJECT
    assert "is empty, and this is a new clone, so no ledger says what was paid for" in studio.output
    assert studio.service.accepted == 0
