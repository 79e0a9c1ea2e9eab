"""A real small video and a root to fetch it into; a service, and a project whose runs use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engine.files import LocalFiles
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.clips import make_clip
from tests.support.harness import Bench


@pytest.fixture(scope="session")
def clip() -> bytes:
    """An MP4 of about 30 kB, index first, with sound."""
    return make_clip(sound=True)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> Bench:
    return Bench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
