"""What a run works with: connections, disk, ledger and clock, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.lane.lane import LaneTools
from runner.project import Project
from runner.redact import Redactor
from runner.run.webhook import Hints
from runner.store.download import DownloadLimits, Fetch
from runner.store.files import FileStore


@dataclass(frozen=True, slots=True)
class Tools(LaneTools):
    """`fetch` knows no key. Only an API on loopback (`is_loopback`) may have its results there."""

    project: Project
    fetch: Fetch
    files: FileStore
    redactor: Redactor
    is_loopback: bool
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    hints: Hints | None = None
    """Waits that a webhook may end early; None where nobody listens."""
