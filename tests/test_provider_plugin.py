"""A provider that another distribution brings: examples/provider-plugin, built, installed and run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.providers.base import Client
from runner.providers.provider import Listing, Provider
from tests.support.command_process import CHECKOUT
from tests.support.provider_plugin import EXAMPLE
from tests.support.wheels import build, install, wheel_environment

PACKAGE = EXAMPLE / "callsheet_replicate"
CONTRACT = CHECKOUT / "docs" / "reference" / "provider.md"
KEY = {"REPLICATE_API_TOKEN": "r8_0123456789"}


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
    (root / "shots.yaml").write_text((EXAMPLE / "shots.yaml").read_text())
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


def public_modules() -> set[str]:
    """Those that the contract lists as public."""
    _, _, section = CONTRACT.read_text(encoding="utf-8").partition("## Public modules")
    return set(re.findall(r"^\| `(runner[\w.]*)` \|", section.partition("\n## ")[0], re.M))


def test_it_imports_nothing_of_callsheet_but_public_modules() -> None:
    public, imported = public_modules(), set[str]()
    for file in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = {f"{node.module}.{alias.name}" for alias in node.names} & public
                imported |= names or {node.module}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    ours = {name for name in imported if name.partition(".")[0] in ("runner", "tests", "benchmarks")}
    assert ours <= public
    assert ours


def test_the_contract_names_every_field_of_a_declaration_and_every_call() -> None:
    page = CONTRACT.read_text(encoding="utf-8").partition("## Public modules")[0]
    firsts = re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.M)
    named = {name for first in firsts for name in re.findall(r"`(\w+)", first)}
    fields = {field.name for made in (Provider, Listing) for field in dataclasses.fields(made)}
    calls = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"}
    assert fields | calls - {"post"} <= named


def test_every_public_module_is_there() -> None:
    for name in public_modules():
        path = CHECKOUT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name


@pytest.mark.evidence
def test_its_own_tests_pass_where_its_wheel_is_installed(python: Path, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(EXAMPLE / "tests")
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "tests"],
        cwd=tmp_path,
        env=wheel_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.evidence
def test_a_run_that_is_killed_and_run_again_has_paid_for_each_task_once(
    python: Path, project: Path, sandbox: str
) -> None:
    run = ["run", "shots.yaml", "--base-url", sandbox]
    killed = subprocess.Popen(line(python, *run), cwd=project, env=wheel_environment(**KEY))
    # each was looked at, so each acceptance is in the ledger
    while sum(task["gets"] > 0 for task in stats(sandbox)["per_task"].values()) < 3:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    again = call(python, project, *run)
    assert (again.returncode, stats(sandbox)["accepted"]) == (0, 3), again.stderr
    assert "3 tasks: 3 done" in again.stdout
    assert len(list(project.glob("rehearsal/out/shots/*.mp4"))) == 3
    assert call(python, project, *run).returncode == 0
    assert stats(sandbox)["accepted"] == 3


@pytest.mark.evidence
def test_it_is_rehearsed_as_a_built_in_provider_is(python: Path, project: Path) -> None:
    ran = call(python, project, "run", "shots.yaml", "--sandbox")
    assert ran.returncode == 0, ran.stderr
    spent = call(python, project, "spend", "--sandbox", "--output-format", "json")
    assert '"0.96"' in spent.stdout, "3 videos of 4 s at 0.08 USD a second"


@pytest.mark.evidence
def test_its_words_models_and_limits_are_checked_before_anything_is_sent(python: Path, project: Path) -> None:
    file = project / "wrong.yaml"
    job = (EXAMPLE / "shots.yaml").read_text()
    frame = "  - {type: image_url, image_url: https://example.com/cup.png, role: last_frame}\n"
    for wrong, expected in (
        (job.replace("480p", "360p"), "resolution"),
        (job.replace("duration: 4", "duration: 40"), "does not make 40 s"),
        (job + frame, "last_frame only with a first_frame"),
        (job.replace("seedance-2.0", "sedance-2.0"), "did you mean `bytedance/seedance-2.0`?"),
    ):
        file.write_text(wrong)
        told = call(python, project, "validate", "wrong.yaml")
        assert told.returncode == 65
        assert expected in told.stderr


def test_its_schema_and_key_are_known_by_its_name(python: Path, project: Path) -> None:
    printed = call(python, project, "schema", "replicate-request")
    assert printed.stdout.rstrip() == (PACKAGE / "request.schema.json").read_text().rstrip()
    refused = subprocess.run(
        line(python, "run", "shots.yaml"),
        cwd=project,
        env=wheel_environment(),
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 77
    assert "REPLICATE_API_TOKEN" in refused.stderr
