"""A certificate authority that nobody trusts."""

from __future__ import annotations

import pytest
import trustme


@pytest.fixture(scope="session")
def certified() -> trustme.CA:
    return trustme.CA()
