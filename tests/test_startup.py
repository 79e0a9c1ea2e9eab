"""What a start loads, read from `-X importtime`: a shell's prompt and a completion ask often, and a job that
is done is asked for each night.

Each verb has packages that it may not load and a budget of modules: a budget that is broken is either a
mistake, or raised by whoever says why.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import runner
from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.command_process import CHECKOUT, environment
from tests.support.evidence import evidence_but

SERVICE = {"httpx", "httpcore", "h11", "anyio", "asyncio", "trio", "structlog", "ssl", "rich"}
"""What only a run that sends or fetches something needs."""
MEDIA = {"av", "PIL", "multiprocessing"}
SERVER = {"starlette", "uvicorn"}
NEVER_IDLE = SERVICE | MEDIA | SERVER

BUDGETS = {"--version": 55, "--help": 175, "validate": 430, "plan": 460, "run": 520}
"""Modules, the standard library's included; some 5 % above what CPython 3.11 loads. Each service brings two
to four, and a job may name any of them."""

_LINE = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")


def imported(*arguments: str, cwd: Path, **changes: str) -> set[str]:
    """The modules that `callsheet ARGUMENTS` loads."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "runner", *arguments],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    return set(_LINE.findall(told.stderr))


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose one job is done, and the origin of the service that made it, which is gone."""
    root = tmp_path_factory.mktemp("done")
    (root / ".callsheet").mkdir()
    job = (CHECKOUT / "jobs" / "quickstart.yaml").read_text(encoding="utf-8")
    (root / "job.yaml").write_text(job + "run: {poll: {first: 20ms, min: 20ms, max: 50ms}}\n", "utf-8")
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        imported("run", "job.yaml", "--base-url", server.url, cwd=root, MESHAPI_API_KEY="rsk_test")
        url = server.url
    return root, url


def test_version_loads_neither_click_nor_metadata_nor_anything_heavy(tmp_path: Path) -> None:
    loaded = imported("--version", cwd=tmp_path)
    assert "runner" in loaded
    assert packages(loaded).isdisjoint(NEVER_IDLE | {"click", "typing", "re", "dataclasses", "email"})
    assert "importlib.metadata" not in loaded
    assert len(loaded) <= BUDGETS["--version"]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = imported("--help", cwd=tmp_path)
    assert "click" in packages(loaded)
    assert packages(loaded).isdisjoint(NEVER_IDLE | {"jsonschema", "jinja2", "yaml"})
    assert len(loaded) <= BUDGETS["--help"]


def test_validate_loads_no_client_no_server_no_ledger_and_no_video_library(project: tuple[Path, str]) -> None:
    loaded = imported("validate", "job.yaml", cwd=project[0])
    assert "yaml" in packages(loaded)
    assert packages(loaded).isdisjoint(NEVER_IDLE | {"filelock", "dotenv"})
    assert "runner.ledger.ledger" not in loaded
    assert len(loaded) <= BUDGETS["validate"]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    evidence_but(
        lambda given: given[0] in {"plan", "run", "status"},
        [
            ("plan", ["job.yaml"]),
            ("run", ["job.yaml"]),
            ("resume", []),
            ("collect", []),
            ("status", []),
            ("report", []),
            ("show", ["harbour-s1"]),
            ("diff", ["latest", "latest"]),
            ("spend", []),
        ],
    ),
)
def test_a_verb_that_asks_the_service_nothing_loads_nothing_that_would(
    verb: str, arguments: list[str], project: tuple[Path, str]
) -> None:
    """A job that is done included: neither event loop, nor client, nor sandbox, nor FFmpeg."""
    root, url = project
    loaded = imported(verb, *arguments, "--base-url", url, cwd=root, MESHAPI_API_KEY="rsk_test")
    assert packages(loaded).isdisjoint(NEVER_IDLE), sorted(packages(loaded) & NEVER_IDLE)
    assert not {"runner.assemble", "runner.run.run", "runner.sandbox"} & loaded
    assert len(loaded) <= BUDGETS.get(verb, BUDGETS["run"])


def test_a_rehearsal_that_is_done_starts_no_sandbox(tmp_path: Path) -> None:
    (tmp_path / ".callsheet").mkdir()
    job = (CHECKOUT / "jobs" / "quickstart.yaml").read_text(encoding="utf-8")
    (tmp_path / "job.yaml").write_text(job + "run: {poll: {first: 20ms, min: 20ms, max: 50ms}}\n", "utf-8")
    worked = imported("run", "job.yaml", "--sandbox", cwd=tmp_path)
    assert {"runner.run.run", "starlette"} <= worked
    idle = imported("run", "job.yaml", "--sandbox", cwd=tmp_path)
    assert packages(idle).isdisjoint(NEVER_IDLE)
    assert "runner.sandbox" not in idle
    runs = [folder for folder in (tmp_path / "rehearsal" / "runs").iterdir() if not folder.is_symlink()]
    assert [len(json.loads((run / "manifest.json").read_text())["tasks"]) for run in runs] == [6, 6]


@pytest.mark.parametrize("name", runner.__all__)
def test_each_name_of_the_public_api_is_there(name: str) -> None:
    assert name in dir(runner)
    assert getattr(runner, name)


def test_a_name_that_is_not_there_is_told_as_python_tells_it() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'run_everything'"):
        runner.run_everything  # noqa: B018
