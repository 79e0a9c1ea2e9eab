"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from runner.sandbox.faults import FaultPlan
from runner.sandbox.results.render import Renderer
from runner.sandbox.service import Service
from runner.sandbox.webhooks import Webhooks


@dataclass(slots=True)
class TaskStats:
    gets: int = 0
    downloads: int = 0


@dataclass(slots=True)
class Stats:
    """Requests by kind, counted as they come in, refused ones included; `notes` are of models, by id."""

    posts: int = 0
    gets: int = 0
    lists: int = 0
    downloads: int = 0
    deletes: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    per_task: dict[str, TaskStats] = field(default_factory=dict)

    def of(self, task_id: str) -> TaskStats:
        return self.per_task.setdefault(task_id, TaskStats())

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class State:
    """`stopping` ends stalled answers when the server goes; `kept` is what a service's routes share, by its
    name; `now` is Unix seconds.
    """

    service: Service
    faults: FaultPlan
    renderer: Renderer
    webhooks: Webhooks
    stopping: asyncio.Event
    stats: Stats = field(default_factory=Stats)
    kept: dict[str, object] = field(default_factory=dict)
    now: Callable[[], float] = time.time
