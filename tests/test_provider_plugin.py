"""A provider that another distribution brings: examples/provider-plugin, built, installed and run."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_process import CHECKOUT
from tests.support.wheels import build, install, wheel_environment

EXAMPLE = CHECKOUT / "examples" / "provider-plugin"
KEY = {"CLIPWORKS_API_KEY": "cw_0123456789"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the plug-in's wheel beside this checkout."""
    home = tmp_path_factory.mktemp("plugin")
    build(EXAMPLE, home / "dist", "wheel")
    (wheel,) = (home / "dist").glob("*.whl")
    return install(wheel, home / "env", beside=[CHECKOUT]) / "python"


@pytest.fixture
def project(tmp_path: Path, python: Path) -> Path:
    root = tmp_path / "my film"
    assert call(python, tmp_path, "init", root).returncode == 0
    (root / "clip.yaml").write_text((EXAMPLE / "clip.yaml").read_text())
    return root


@pytest.fixture
def sandbox(python: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of one that outlives the runs; it takes its time, so that they can be killed."""
    with subprocess.Popen(
        [python, "-m", "runner", "sandbox", "--latency", "2", "--scale", "0.1", "--store", tmp_path / "s.db"],
        env=wheel_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def line(python: Path, *arguments: str | Path) -> list[str | Path]:
    return [python, "-m", "runner", *arguments]


def call(python: Path, cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line(python, *arguments),
        cwd=cwd,
        env=wheel_environment(**KEY),
        capture_output=True,
        text=True,
        timeout=120,
    )


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def test_a_run_that_is_killed_and_run_again_has_paid_for_each_task_once(
    python: Path, project: Path, sandbox: str
) -> None:
    run = ["run", "clip.yaml", "--base-url", sandbox]
    killed = subprocess.Popen(line(python, *run), cwd=project, env=wheel_environment(**KEY))
    # each was looked at, so each acceptance is in the ledger: this service has no list to find one in
    while sum(task["gets"] > 0 for task in stats(sandbox)["per_task"].values()) < 3:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    again = call(python, project, *run)
    assert (again.returncode, stats(sandbox)["accepted"]) == (0, 3), again.stderr
    assert "3 tasks: 3 done" in again.stdout
    assert len(list(project.glob("rehearsal/out/clip/*.mp4"))) == 3
    assert call(python, project, *run).returncode == 0
    assert stats(sandbox)["accepted"] == 3


def test_it_is_rehearsed_as_a_built_in_provider_is(python: Path, project: Path) -> None:
    ran = call(python, project, "run", "clip.yaml", "--sandbox")
    assert ran.returncode == 0, ran.stderr
    spent = call(python, project, "spend", "--sandbox", "--output-format", "json")
    assert '"0.48"' in spent.stdout, "3 clips of 4 s at 0.04 USD"


def test_its_words_models_and_limits_are_checked_before_anything_is_sent(python: Path, project: Path) -> None:
    file = project / "wrong.yaml"
    file.write_text(
        (EXAMPLE / "clip.yaml")
        .read_text()
        .replace("shape: 1:1", "shap: 1:1")
        .replace("seconds: 4", "seconds: 40")
        + "  - {type: image_url, image_url: https://example.com/cup.png}\n"
    )
    told = call(python, project, "validate", "wrong.yaml")
    assert told.returncode == 65
    for expected in ("did you mean `shape`?", "seconds", "clipworks takes no image_url"):
        assert expected in told.stderr


def test_its_schema_and_key_are_known_by_its_name(python: Path, project: Path) -> None:
    printed = call(python, project, "schema", "clipworks-request")
    schema = EXAMPLE / "callsheet_clipworks" / "request.schema.json"
    assert printed.stdout.rstrip() == schema.read_text().rstrip()
    refused = subprocess.run(
        line(python, "run", "clip.yaml"), cwd=project, env=wheel_environment(), capture_output=True, text=True
    )
    assert refused.returncode == 77
    assert "CLIPWORKS_API_KEY" in refused.stderr
