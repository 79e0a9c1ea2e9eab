"""Which parameters of a test are made each time, and which by name alone (`scripts/test -m evidence`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

Value = TypeVar("Value")


def evidence_but(is_kept: Callable[[Value], bool], values: Iterable[Value]) -> list[object]:
    """The values of a `parametrize`; those that are not kept show more of the same, and are evidence.

    Raises AssertionError where none is kept, or all are.
    """
    given = list(values)
    evidence = [value for value in given if not is_kept(value)]
    assert 0 < len(evidence) < len(given)
    return [_evidence(value) if value in evidence else value for value in given]


def _evidence(value: object) -> object:
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.evidence)
