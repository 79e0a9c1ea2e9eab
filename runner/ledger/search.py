"""Finding a task by what a person has in hand: a name, a digest, a service's id, a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.ledger.read import LedgerReader
from runner.ledger.rows import TaskRow
from runner.plan.words import TaskWords

SHORTEST_DIGEST = 8
_MOST_FOUND = 20
_MOST_LOOKED_AT = 10_000
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class FoundTask:
    """A task, and by what it was found, in words."""

    task: TaskRow
    by: str


class LedgerSearch(LedgerReader):
    """A reader that also searches; each query may read a whole table, so it is for people only."""

    def find(self, words: str) -> list[FoundTask]:
        """The tasks that `words` may mean, newest first, at most 20.

        An identity, a file's sha256 (their first 8 digits will do), the service's id or an attempt's;
        else a name.
        """
        if len(words) >= SHORTEST_DIGEST and set(words) <= _HEX:
            by_digest = (
                ("identity", "SELECT identity FROM tasks WHERE identity >= ? AND identity < ?"),
                ("sha256 of a file", "SELECT identity FROM outputs WHERE sha256 >= ? AND sha256 < ?"),
                ("attempt", "SELECT identity FROM attempts WHERE id >= ? AND id < ?"),
            )
            for by, query in by_digest:
                # `g` follows the last digit: a range, so that the index is used
                if found := self._tasks(by, query, (words, f"{words}g")):
                    return found
        by_text = (
            ("id at the service", "SELECT identity FROM attempts WHERE remote_id = ?"),
            ("name", "SELECT identity FROM tasks WHERE name = ?"),
        )
        for by, query in by_text:
            if found := self._tasks(by, query, (words,)):
                return found
        return []

    def find_path(self, words: TaskWords) -> list[FoundTask]:
        """The tasks whose output path is meant, else those whose path ends in these words; newest first."""
        last = words.typed.removesuffix(".mp4").rpartition("/")[2].rpartition("-")[2]
        like = "SELECT identity FROM tasks WHERE replace(output, ?, '') <> output"
        among = self._tasks("its path", like, (f"{last}.mp4",), most=_MOST_LOOKED_AT)
        meant = [one for one in among if words.mean("", one.task.output)]
        return (meant or [one for one in among if words.may_mean(one.task.output)])[:_MOST_FOUND]

    def names(self) -> Iterable[str]:
        """The names of tasks that were asked for, the newest 10,000."""
        rows = self._db.execute(
            "SELECT name FROM tasks JOIN attempts USING (identity) GROUP BY name"
            " ORDER BY max(seq) DESC LIMIT 10000"
        )
        return (name for (name,) in rows)

    def paths(self) -> Iterable[str]:
        """Where files are, below the project's base; the newest 10,000."""
        rows = self._db.execute("SELECT path FROM outputs ORDER BY seq DESC LIMIT 10000")
        return (path for (path,) in rows)

    def _tasks(
        self, by: str, query: str, values: tuple[str, ...], most: int = _MOST_FOUND
    ) -> list[FoundTask]:
        rows = self._db.execute(
            f"SELECT identity FROM ({query}) AS found GROUP BY identity ORDER BY coalesce((SELECT max(seq)"
            f" FROM attempts WHERE attempts.identity = found.identity), 0) DESC LIMIT {most}",
            values,
        ).fetchall()
        tasks = (self.task(identity) for (identity,) in rows)
        return [FoundTask(task, by) for task in tasks if task is not None]
