"""examples/provider-plugin beside this checkout, as if its wheel were installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner import providers

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "provider-plugin"
_ENTRY_POINTS = """\
[callsheet.providers]
replicate = callsheet_replicate:REPLICATE

[callsheet.sandboxes]
replicate = callsheet_replicate.sandbox:replicate_routes
"""


@contextmanager
def plugin_installed(directory: Path) -> Iterator[None]:
    """Its metadata are written below `directory`: building a wheel takes seconds."""
    metadata = directory / "callsheet_replicate-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: callsheet-replicate\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(_ENTRY_POINTS)
    before = [*sys.path]
    sys.path[:0] = [str(directory), str(EXAMPLE)]
    providers.every.cache_clear()
    try:
        yield
    finally:
        sys.path[:] = before
        providers.every.cache_clear()
