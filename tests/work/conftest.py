"""A project for the verbs that take `--workers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.sandbox import SandboxServer
from tests.support.verb_bench import VerbBench


@pytest.fixture
def verbs(
    tmp_path: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> VerbBench:
    return VerbBench.open(tmp_path, server, monkeypatch, capsys)
