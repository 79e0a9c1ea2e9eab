"""What was spent, and what may have been: the part of the ledger's queries that is about money."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence

from runner.job.project_file import Where
from runner.ledger.columns import batches, marks
from runner.ledger.engine import Engine
from runner.ledger.rows import Drift, Spend, SpendBy, SpendDays, SpendRow
from runner.ledger.states import COUNTED_ABSENCES, IN_FLIGHT, OPEN, sql_among, sql_list

# a rejected POST costs nothing; everything else may have been billed, also what a person had submitted
# again without proof, and what was taken for absent until a day later still shows nothing of it
_POSSIBLY_BILLED = (
    f"((attempts.state <> 'planned' OR resolution IN {sql_list(COUNTED_ABSENCES)})"
    " AND NOT (attempts.state = 'failed' AND verdict = 'rejected'))"
)

# nobody knows whether a failed one is billed, unless the service says what it cost
_SETTLED = "(attempts.state = 'done' OR attempts.state IN ('failed', 'expired') AND cost_micros IS NOT NULL)"

_GROUPS = {
    SpendBy.JOB: "runs.job_file",
    SpendBy.ACCOUNT: "account",
    SpendBy.LABEL: "labels",
    SpendBy.MODEL: "attempts.model",
    SpendBy.DAY: "day",
    SpendBy.MONTH: "month",
}


class SpendReader:
    """Sums over one connection; the amounts are in micros."""

    def __init__(self, engine: Engine) -> None:
        self._db = engine

    def spend(self, *run_ids: str) -> Spend:
        """What these runs may have been billed: the actual cost where known, else the estimate.

        `spends` is kept by the triggers in spends.sql.
        """
        total = Spend(0, 0, 0)
        for batch in batches(dict.fromkeys(run_ids)):
            row = self._db.execute(
                "SELECT coalesce(sum(tasks), 0), coalesce(sum(micros), 0), coalesce(sum(unknown), 0)"
                f" FROM spends WHERE span IN ({marks(batch)})",
                batch,
            ).fetchone()
            total += Spend(*row)
        return total

    def spent_in(self, span: str, where: Where) -> Spend:
        """What the accounts that `where` covers may have been billed for attempts of a day or a month."""
        found = self._db.execute(
            "SELECT account, labels, tasks, micros, unknown FROM spends WHERE span = ?", (span,)
        )
        return _sum_of(found, where)

    def reserved_in(self, span: str, where: Where) -> Spend:
        """The part of it that is reserved for attempts that have not ended."""
        found = self._db.execute(
            "SELECT account, labels, 1, coalesce(cost_micros, estimate_micros, 0),"
            " coalesce(cost_micros, estimate_micros) IS NULL FROM attempts"
            f" WHERE {sql_among(OPEN)} AND ? IN (day, month)",
            (span,),
        )
        return _sum_of(found, where)

    def billed_runs_named(self, job_name: str, edition: str) -> set[str]:
        """The runs of a job's name and edition that may have been billed for anything."""
        rows = self._db.execute(
            "SELECT id FROM runs JOIN spends ON span = id WHERE job_name = ? AND edition = ? AND tasks > 0",
            (job_name, edition),
        )
        return {run_id for (run_id,) in rows}

    def billed_runs_of(self, identities: Sequence[str]) -> set[str]:
        """The runs with an attempt at one of these tasks that may have been billed for anything."""
        return {
            run_id
            for batch in batches(identities)
            for (run_id,) in self._db.execute(
                f"SELECT DISTINCT run_id FROM attempts WHERE identity IN ({marks(batch)})"
                " AND EXISTS (SELECT 1 FROM spends WHERE span = run_id AND tasks > 0)",
                batch,
            )
        }

    def spending(
        self,
        by: SpendBy | None = None,
        since: float | None = None,
        days: SpendDays = SpendDays(),  # noqa: B008  frozen
        *,
        label: str = "",
    ) -> list[SpendRow]:
        """What may have been billed since a Unix time, and on these days, by group; in one row where `by` is
        None. With `label` the groups are that label's values.
        """
        in_flight = f"attempts.state IN {sql_list(IN_FLIGHT)}"
        possibly = f"NOT ({_SETTLED} OR {in_flight})"
        columns = ", ".join(
            f"count(*) FILTER (WHERE {kind}),"
            f" coalesce(sum(coalesce(cost_micros, estimate_micros)) FILTER (WHERE {kind}), 0),"
            f" count(*) FILTER (WHERE {kind} AND coalesce(cost_micros, estimate_micros) IS NULL)"
            for kind in (_SETTLED, in_flight, possibly)
        )
        part = _GROUPS[by] if by else "''"
        rows = self._db.execute(
            f"SELECT {part} AS part, {columns}"
            " FROM attempts JOIN runs ON runs.id = run_id"
            f" WHERE {_POSSIBLY_BILLED} AND intended_at >= ?1 AND day >= ?2 AND (?3 = '' OR day <= ?3)"
            f"{' GROUP BY part' if by else ''}",
            (since or 0.0, days.first, days.last),
        )
        found: dict[str, SpendRow] = {}
        for part, *counts in rows:
            for group in _label_groups(part, label) if by is SpendBy.LABEL else (part,):
                row = SpendRow(group, Spend(*counts[:3]), Spend(*counts[3:6]), Spend(*counts[6:]))
                found[group] = found[group] + row if group in found else row
        return [found[group] for group in sorted(found)]

    def first_intent(self, origin: str, key_hash: str) -> float | None:
        """When a key was first used at an origin, in Unix seconds; None where it never was."""
        row = self._db.execute(
            "SELECT min(intended_at) FROM attempts WHERE origin = ? AND key_hash = ?", (origin, key_hash)
        ).fetchone()
        return row[0] if row else None

    def spent_with(self, origin: str, key_hash: str, since: float) -> tuple[int, int]:
        """(settled, all that may have been billed) for submits with a key since a Unix time, in micros."""
        row = self._db.execute(
            f"SELECT coalesce(sum(coalesce(cost_micros, estimate_micros)) FILTER (WHERE {_SETTLED}), 0),"
            " coalesce(sum(coalesce(cost_micros, estimate_micros)), 0) FROM attempts"
            f" WHERE origin = ? AND key_hash = ? AND intended_at >= ? AND {_POSSIBLY_BILLED}",
            (origin, key_hash, since),
        ).fetchone()
        return row[0], row[1]

    def drift(self, run_id: str) -> Drift:
        """How the actual cost of a run's tasks compares to their estimate."""
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(estimate_micros), 0), coalesce(sum(cost_micros), 0) FROM attempts"
            " WHERE run_id = ? AND estimate_micros IS NOT NULL AND cost_micros IS NOT NULL",
            (run_id,),
        ).fetchone()
        return Drift(*row)


def _sum_of(found: Iterable[tuple[str, str, int, int, int]], where: Where) -> Spend:
    """Of rows of account, labels, tasks, micros and unknown prices: those that `where` covers."""
    total = Spend(0, 0, 0)
    for account, labels, *row in found:
        if where.covers(account, _labels(labels)):
            total += Spend(*row)
    return total


def _label_groups(text: str, label: str) -> Iterable[str]:
    """The groups that an account with these labels counts in: each label with its value, or one's value."""
    labels = _labels(text)
    if label:
        return (labels.get(label, ""),)
    return [f"{name} {value}" for name, value in labels.items()] or ("",)


@functools.lru_cache(maxsize=256)
def _labels(text: str) -> Mapping[str, str]:
    """The labels of few accounts stand in many rows."""
    found: dict[str, str] = json.loads(text)
    return found
