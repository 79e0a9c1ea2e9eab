"""The project and the counting sandbox of the end-to-end tests serve here too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.episode import Nursery
from tests.support.process_bench import ProcessBench


@pytest.fixture
def film(tmp_path: Path) -> Iterator[ProcessBench]:
    with ProcessBench.open(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("home")) as started:
        yield started
