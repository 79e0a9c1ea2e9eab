"""A project of its own for each test, and a sandbox whose count is the oracle for money."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process_bench import ProcessBench


@pytest.fixture
def film(tmp_path: Path) -> Iterator[ProcessBench]:
    with ProcessBench.open(tmp_path) as opened:
        yield opened
