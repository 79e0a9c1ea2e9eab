"""A checkout from a stranger, and a service that may turn on us."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.sandbox import SandboxServer
from tests.security.checkout import Checkout


@pytest.fixture
def checkout(
    tmp_path: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Checkout:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "checkout"
    root.mkdir()
    made = Checkout(root, outside, server, monkeypatch, capsys)
    assert made.call("-q", "init").returncode == 0
    return made
