"""A sandbox and a project that uses it, for the verbs that talk to a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.desk import Desk


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


@pytest.fixture
def desk(
    tmp_path: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    return Desk.open(tmp_path, server, monkeypatch, capsys)
