"""A shell's environment in which nothing costs anything and nothing leaves this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.docs.fast import LATENCY
from tests.support.command_process import CHECKOUT


@pytest.fixture(scope="session")
def service() -> Iterator[SandboxServer]:
    """Both services, for commands that a page shows without --sandbox."""
    with SandboxServer(SandboxConfig(latency=LATENCY, scale=0.1)) as server:
        yield server


@pytest.fixture
def shell(service: SandboxServer, tmp_path: Path) -> Mapping[str, str]:
    """The variables of a reader's shell; `callsheet` on its PATH is this checkout's, with fast rehearsals."""
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "callsheet"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.docs.fast "$@"\n')
    command.chmod(0o755)
    dask = commands / "dask"
    dask.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dask "$@"\n')
    dask.chmod(0o755)
    # what a page installs stays its own, and comes from no network
    pip, installed = commands / "pip", tmp_path / "installed"
    options = "--no-deps --no-index --no-build-isolation --disable-pip-version-check -qq"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@" {options} --target "{installed}"\n')
    pip.chmod(0o755)
    return {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(commands), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(installed)]),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "120",
        "MESHAPI_BASE_URL": service.url,
        "MESHAPI_API_KEY": SANDBOX_KEY,
        "GETIMG_AI_BASE_URL": service.url,
        "GETIMG_API_KEY": SANDBOX_KEY,
    }
