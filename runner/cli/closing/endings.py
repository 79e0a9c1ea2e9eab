"""What verbs that end a run say: why it ended so, what may be lost, and where its contact sheet is."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runner.cli import console
from runner.cli.display.work import job_runs
from runner.cli.humanize import shown_path, spend_words, took_words
from runner.desk.report import Report, make_report
from runner.errors import INTERRUPTS, CallsheetError, ExitCode
from runner.lane.under_way import NearingExpiry
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Spend, SpendBy
from runner.media.video import has_pyav
from runner.plural import count
from runner.project import Project
from runner.redact import printable
from runner.run.finish import RunResult
from runner.run.prepare import Prepared
from runner.times import local_time

AFTER_RUN_SECONDS = 30.0
AFTER_STOP_SECONDS = 2.0
"""After a signal a person or a supervisor waits for the process to end."""
_MOST_TOLD = 5


def tell_reasons(result: RunResult) -> None:
    """Says on stderr why a run ended as it did."""
    for reason in result.reasons:
        console.error(printable(reason))


def tell_nearing_expiry(overdue: NearingExpiry | None, zone: datetime.tzinfo | None) -> None:
    """Says on stderr, in the time of `zone` (None: this machine's), when paid results may be out of reach."""
    if overdue is not None:
        at = local_time(overdue.ends, zone)
        console.error(
            f"{count(overdue.count, 'paid result')} may be out of reach from {at:%Y-%m-%d %H:%M} on;"
            " hint: callsheet collect"
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What an end cost: `now` by this start, `in_all` by this run and the earlier ones of its job."""

    now: Spend
    in_all: Spend
    seconds: float

    @classmethod
    def read(cls, prepared: Prepared, reader: LedgerReader, since: float | None, seconds: float) -> Cost:
        """`since` is when the first submit may have been made, in Unix seconds; None where none was."""
        rows = [] if since is None else reader.spending(SpendBy.JOB, since)
        bought = [row for row in rows if row.group == prepared.run.job_file]
        parts = [part for row in bought for part in (row.settled, row.in_flight, row.possibly)]
        now = Spend(*(sum(getattr(part, name) for part in parts) for name in ("tasks", "micros", "unknown")))
        return cls(now, reader.spend(*job_runs(prepared, reader)), seconds)

    def words(self, *, is_rehearsal: bool) -> str:
        """`USD 7.62 now, 27.44 in all, 18 s`."""
        is_unknown = self.in_all.tasks == self.in_all.unknown > 0 and self.now.tasks > 0
        in_all = f"{self.in_all.tasks:,}" if is_unknown else spend_words(self.in_all).removeprefix("USD ")
        said = f"{spend_words(self.now)} now, {in_all} in all, {took_words(self.seconds)}"
        return f"free, a rehearsal; for real {said}" if is_rehearsal else said


def report_after_runs(
    runs: Sequence[tuple[Project, str]], code: ExitCode, *, is_told: bool
) -> Mapping[str, Path]:
    """Writes the page of each run that has ended, and says where it is. It never fails a run.

    Gives the pages that were made, by the run's id.
    """
    pages: dict[str, Path] = {}
    patience = AFTER_STOP_SECONDS if code in INTERRUPTS else AFTER_RUN_SECONDS
    try:
        for project, run_id in runs:
            try:
                made = make_report(project, run_id, patience=patience, tell=tell_progress)
            except CallsheetError as error:
                console.error(f"no contact sheet: {error}")
            except Exception as error:  # the videos are on the disk; the exit code of the run stands
                first, *rest = console.bug_report(error)
                for line in (f"no contact sheet: {first}", *rest):
                    console.error(line)
            else:
                pages[run_id] = made.path
                tell_missing(made)
                if is_told:
                    console.summary(f"report:   {shown_path(made.path)}")
    except KeyboardInterrupt:  # the exit code of the runs stands
        console.note("no contact sheet: interrupted; hint: `callsheet report` makes it")
    return pages


def tell_progress(made: int, of: int) -> None:
    console.status(f"report: {made} of {count(of, 'poster')}")


def tell_missing(made: Report) -> None:
    """Says what is missing from the page, and what to do."""
    for path, why in islice(made.unreadable.items(), _MOST_TOLD):
        console.error(f"{printable(path)}: {printable(why)}")
    if made.unreadable:
        videos = count(len(made.unreadable), "video")
        console.error(f"{videos} cannot be read; hint: `callsheet verify` says whether it has changed")
    if made.without_poster and not has_pyav():
        console.note("the contact sheet has no pictures; hint: pip install 'callsheet[media]'")
    elif made.without_poster:
        pictures = count(made.without_poster, "picture")
        console.note(f"the contact sheet lacks {pictures}; hint: `callsheet report` makes more")
