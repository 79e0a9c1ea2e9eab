"""What a valid job file says, as frozen dataclasses. Durations are seconds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal


class OnAmbiguous(enum.StrEnum):
    """What follows when an ambiguous submit is shown to be absent at the service."""

    AUTO = "auto"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """`first`: from acceptance to the first look (None: learned); `minimum`, `maximum`: between looks."""

    first: float | None = None
    minimum: float = 2.0
    maximum: float = 30.0


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """How a run behaves. `rate` is requests per second (None: learned from 429s)."""

    concurrency: int = 8
    submit_slots: int = 4
    downloads: int = 4
    rate: float | None = None
    timeout: float = 3600.0
    deadline: float | None = None
    max_failures: int | None = None
    settle: float = 300.0
    on_ambiguous: OnAmbiguous = OnAmbiguous.AUTO
    poll: PollPolicy = field(default_factory=PollPolicy)


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps over one run and its resumes; None is no cap."""

    max_usd: Decimal | None = None
    max_tasks: int | None = None
    confirm_usd: Decimal | None = None
