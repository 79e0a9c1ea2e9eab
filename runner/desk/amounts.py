"""Amounts and times in words."""

from __future__ import annotations

from datetime import datetime

from runner.money import usd_as_today
from runner.record.manifest import ManifestCost


def milliseconds(text: str) -> int:
    """A time of the manifest as Unix milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def moment_words(text: str) -> str:
    """`21 Nov 2026, 05:06 UTC`."""
    return datetime.fromisoformat(text).strftime("%-d %b %Y, %H:%M UTC")


def duration_words(seconds: float) -> str:
    """`4.2 s`, `3 min 12 s`, `2 h 5 min`, `3 d`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours / 24:.0f} d"


def spend_words(cost: ManifestCost, *, is_rehearsal: bool) -> str:
    """What a run cost; what is not known is said, never zero."""
    if not cost.tasks:
        return "nothing was submitted"
    if cost.usd is None:
        return "price not known"
    known = f"USD {usd_as_today(cost.usd)}"
    known += f", {cost.unpriced_tasks} without a price" if cost.unpriced_tasks else ""
    return f"{known} (rehearsed)" if is_rehearsal else known
