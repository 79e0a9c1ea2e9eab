"""How each session of a run begins and ends, whether or not there is work between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ExitCode
from runner.json_value import JsonValue
from runner.lane.costs import has_drifted
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Drift
from runner.ledger.states import TaskState
from runner.money import usd_text
from runner.record.events import Observer
from runner.record.facts import JOB_DIGEST
from runner.run.prepare import Prepared


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run, or a `collect`, ended; `reasons` are sentences for a person.

    `counts` are the plan's tasks by state; for `collect`, the ledger's attempts.
    """

    exit_code: ExitCode
    reasons: tuple[str, ...]
    counts: Mapping[TaskState, int]
    run_id: str | None = None
    manifest: Path | None = None
    waits: tuple[str, ...] = ()
    """What a person has to write before the job can go on."""
    notes: tuple[str, ...] = ()
    """What is said of other jobs' tasks; the exit code does not speak of them."""


def begin(ledger: Ledger, prepared: Prepared, at: float, facts: Mapping[str, JsonValue]) -> int:
    """Opens a session in the caller's transaction, and gives its number."""
    run = prepared.run
    if prepared.is_new:
        ledger.begin_run(run)
    ledger.update_run_digest(run.id, prepared.plan.job.digest)
    ledger.finish_run(run.id, None)
    ledger.recover(at)
    return ledger.begin_session(run.id, at, {**facts, JOB_DIGEST: prepared.plan.job.digest})


def tell_beginning(observe: Observer, prepared: Prepared) -> None:
    observe(
        "run.started",
        {"run": prepared.run.id, "job": prepared.plan.job.file, "tasks": prepared.plan.count},
    )


def tell_end(
    observe: Observer, run_id: str, drift: Drift, exit_code: ExitCode, reasons: Sequence[str]
) -> None:
    """Also how far what the run cost is from its estimate, where that is far."""
    if has_drifted(drift):
        observe(
            "run.cost_drift",
            {
                "tasks": drift.attempts,
                "estimate_usd": usd_text(drift.estimate_micros),
                "cost_usd": usd_text(drift.cost_micros),
            },
        )
    observe("run.finished", {"run": run_id, "exit_code": int(exit_code), "reasons": reasons})
