"""A real small video for the tests of downloads."""

from __future__ import annotations

import pytest

from tests.support.clips import make_clip


@pytest.fixture(scope="session")
def clip() -> bytes:
    """An MP4 of about 30 kB, index first, with sound."""
    return make_clip(sound=True)
