"""Providers that a test brings, as a distribution would."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from unittest.mock import patch

from runner.providers import ENTRY_POINTS, every


@contextlib.contextmanager
def installed(**providers: str) -> Iterator[None]:
    """The providers by their names, each as `module:attribute`."""
    points = [EntryPoint(name, value, ENTRY_POINTS) for name, value in providers.items()]
    real = importlib.metadata.entry_points

    def entry_points(*, group: str) -> Iterable[EntryPoint]:
        return [*real(group=group), *(points if group == ENTRY_POINTS else ())]

    every.cache_clear()
    with patch.object(importlib.metadata, "entry_points", entry_points):
        try:
            yield
        finally:
            every.cache_clear()
