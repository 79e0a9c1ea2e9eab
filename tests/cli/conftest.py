"""A project that uses the sandbox, for the verbs that talk to a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.sandbox import SandboxServer
from tests.support.monitor_server import MonitorServer, monitor_server
from tests.support.verb_bench import VerbBench


@pytest.fixture
def verbs(
    tmp_path: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> VerbBench:
    return VerbBench.open(tmp_path, server, monkeypatch, capsys)


@pytest.fixture
def monitor() -> Iterator[MonitorServer]:
    with monitor_server() as server:
        yield server
