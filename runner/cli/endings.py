"""How a run or a `collect` ended, beyond its counts: told on stderr."""

from __future__ import annotations

from runner.cli import console
from runner.cli.advice import command
from runner.cli.options import ServiceOptions
from runner.cli.words import late_words
from runner.redact import printable
from runner.run.ends import RunResult
from runner.run.lateness import Late

_MOST_NOTES = 3


def tell_reasons(result: RunResult) -> None:
    """Why a run ended as it did, on stderr."""
    for reason in result.reasons:
        console.error(printable(reason))


def tell_notes(result: RunResult, service: ServiceOptions) -> None:
    """How other jobs' tasks stand that were looked at along the way, on stderr; the first few of many."""
    for note in result.notes[:_MOST_NOTES]:
        console.note(f"of another job: {printable(note)}")
    if len(result.notes) > _MOST_NOTES:
        console.note(f"and {len(result.notes) - _MOST_NOTES} more of other jobs")
    if result.notes:
        console.next_step(command("collect", service=service), "fetches what other jobs have in flight")


def tell_late(overdue: Late | None) -> None:
    """That paid results may soon be out of reach, on stderr."""
    if overdue is not None:
        console.error(late_words(overdue))
