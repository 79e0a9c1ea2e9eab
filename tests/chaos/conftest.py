"""The project and the counting sandbox of the end-to-end tests serve here too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.episode import Nursery
from tests.end_to_end.conftest import film

__all__ = ["film"]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("home")) as started:
        yield started
