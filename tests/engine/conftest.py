"""A real small video, and a root to fetch it into."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.engine.files import LocalFiles
from tests.support.clips import make_clip


@pytest.fixture(scope="session")
def clip() -> bytes:
    """An MP4 of about 30 kB, index first, with sound."""
    return make_clip(sound=True)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)
