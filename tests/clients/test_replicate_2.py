"""Version 2 of Replicate's client, a beta that cannot be installed beside version 1.

    pip install --target DIR --no-deps replicate==2.0.0b4
    REPLICATE_2=DIR python -m pytest tests/clients/test_replicate_2.py

Without that directory it is not collected (conftest.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.provider_plugin import installed

CLIENT = Path(__file__).with_name("replicate_2.py")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    config = SandboxConfig(provider="replicate", latency=(0.0, 0.0), scale=0.05)
    with installed(tmp_path), SandboxServer(config) as server:
        yield server


def call(server: SandboxServer, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.environ["REPLICATE_2"]}
    return subprocess.run(
        [sys.executable, CLIENT, server.url, *options], env=environment, capture_output=True, text=True
    )


def test_it_creates_lists_gets_and_cancels(sandbox: SandboxServer) -> None:
    told = call(sandbox)
    assert json.loads(told.stdout) == {
        "status": "succeeded",
        "input": {"prompt": "A cup of tea", "duration": 4, "resolution": "480p"},
        "listed": True,
        "cancelled": "succeeded",
    }, told.stderr


def test_it_pays_three_times_for_a_create_whose_answers_are_cut(sandbox: SandboxServer) -> None:
    sandbox.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=None))
    told = call(sandbox, "create")
    assert "APIConnectionError" in told.stderr
    assert sandbox.accepted == 3
