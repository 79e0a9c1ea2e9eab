"""What a start loads, read from `-X importtime`: a shell's prompt and a completion ask often."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import runner
from tests.support.command import CHECKOUT, environment

HEAVY = {"rich", "jsonschema", "httpx", "av", "jinja2", "starlette", "anyio"}
NOT_FOR_VALIDATE = {"av", "httpx", "starlette", "rich"}

_LINE = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")


def imported(*arguments: str, cwd: Path) -> set[str]:
    """The modules that `callsheet ARGUMENTS` loads."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "runner", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(_LINE.findall(told.stderr))


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_version_loads_neither_click_nor_metadata_nor_anything_heavy(tmp_path: Path) -> None:
    loaded = imported("--version", cwd=tmp_path)
    assert "runner" in loaded
    assert packages(loaded).isdisjoint(HEAVY | {"click", "typing", "re", "dataclasses"})
    assert "importlib.metadata" not in loaded


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = packages(imported("--help", cwd=tmp_path))
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_validate_loads_no_client_no_server_and_no_video_library(tmp_path: Path) -> None:
    (tmp_path / ".callsheet").mkdir()
    job = tmp_path / "job.yaml"
    job.write_text((CHECKOUT / "jobs" / "quickstart.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    loaded = packages(imported("validate", "job.yaml", cwd=tmp_path))
    assert "yaml" in loaded
    assert loaded.isdisjoint(NOT_FOR_VALIDATE)


@pytest.mark.parametrize("name", runner.__all__)
def test_each_name_of_the_public_api_is_there(name: str) -> None:
    assert name in dir(runner)
    assert getattr(runner, name)


def test_a_name_that_is_not_there_is_told_as_python_tells_it() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'run_everything'"):
        runner.run_everything  # noqa: B018
