"""Files on their way into the project's store, beside a run: in slots of their own, and never in its way.

A file is published first, and archived when there is time. Its row in the ledger is written once the store
has it whole, so a kill at any moment leaves at most an object without a row, which the next run finds there.
What goes wrong is the archive's trouble and no task's: the files stay here, and the exit code says 75.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from runner.errors import ExitCode, StateError
from runner.lane.commits import Commits
from runner.ledger.rows import ArchivedRow, OutputRow
from runner.objects.store import ObjectError, ObjectStore, ObjectTrouble
from runner.plural import count
from runner.record.events import Observer
from runner.run.wholeness import filed, here
from runner.store import archive
from runner.store.files import FileStore

SLOTS = 4
"""Files on their way at once. Their threads are none of those that commits and downloads use."""

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
_MOST_TOLD = 3
FOR_GOOD = frozenset({ObjectTrouble.NO_BUCKET, ObjectTrouble.REFUSED})
"""No pause mends these."""


def words_of_left(files: int, reasons: Iterable[str]) -> str:
    """What a person is told of so many files that could not be archived."""
    why = "; ".join([*reasons][:_MOST_TOLD]) or "there was no time for more"
    return f"{count(files, 'file')} {'is' if files == 1 else 'are'} not archived yet, and stay here: {why}"


@dataclass(slots=True)
class Archive:
    """What a process archives. `add` takes what is published now; `beside` also what was left before."""

    store: ObjectStore
    commits: Commits
    files: FileStore
    wall: Callable[[], float]
    observe: Observer
    random: random.Random
    put: int = 0
    """Files that came into the store."""
    put_bytes: int = 0
    _waiting: deque[OutputRow] = field(default_factory=deque)
    _left: dict[str, OutputRow] = field(default_factory=dict)
    """By digest: what could not be put."""
    _reasons: dict[str, None] = field(default_factory=dict)
    _observers: dict[str, Observer] = field(default_factory=dict)
    """Who is told of a file, by its digest, where that is its own job."""
    _settled: set[str] = field(default_factory=set)
    """Digests that are under way, or in the store."""
    _told: str = ""
    _is_over: bool = False
    _is_ending: bool = False
    _news: anyio.Event = field(default_factory=anyio.Event)
    _pause: float = _FIRST_PAUSE
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def name(self) -> str:
        """As callsheet.yaml names the store."""
        return str(self.store.address)

    def add(self, row: OutputRow, observe: Observer) -> None:
        """A file was published, and the ledger knows it."""
        self._waiting.append(row)
        self._observers[row.sha256] = observe
        self._wake()

    def cut(self) -> None:
        """Ends the work soon: what is left is for the next run."""
        self._scope.cancel()

    @asynccontextmanager
    async def beside(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Archives for as long as this is open, and then what is left, for at most so long from now.

        Raises nothing of its own: `left` says what became of it.
        """
        ends = math.inf if seconds is None else anyio.current_time() + seconds
        async with anyio.create_task_group() as group:
            group.start_soon(self._work_all)
            yield
            self._is_ending = True
            self._scope.deadline = ends
            self._wake()
        await self._leave(self._waiting)

    def left(self) -> list[OutputRow]:
        """What is here and could not be archived."""
        return [*self._left.values()]

    def words(self) -> str:
        """What a person is told of the files that could not be archived."""
        return words_of_left(len(self._left), self._reasons)

    async def _work_all(self) -> None:
        with self._scope:
            rows = await self.commits.read(lambda reader: reader.unarchived(self.name))
            self._waiting.extendleft(reversed(await anyio.to_thread.run_sync(here, rows, self.files)))
            limiter = anyio.CapacityLimiter(SLOTS)
            async with anyio.create_task_group() as group:
                for _ in range(SLOTS):
                    group.start_soon(self._work, limiter)

    async def _leave(self, rows: Iterable[OutputRow]) -> None:
        kept = [row for row in rows if row.sha256 not in self._settled]
        with anyio.CancelScope(shield=True):
            for row in await anyio.to_thread.run_sync(here, kept, self.files):
                self._left.setdefault(row.sha256, row)
        self._waiting.clear()

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def _work(self, limiter: anyio.CapacityLimiter) -> None:
        while True:
            if self._waiting and not self._is_over:
                row = self._waiting.popleft()
                if row.sha256 not in self._settled:
                    await self._put(row, limiter)
            elif self._is_ending:
                return
            else:
                await self._news.wait()

    async def _put(self, row: OutputRow, limiter: anyio.CapacityLimiter) -> None:
        one = filed(row)
        self._settled.add(row.sha256)
        try:
            await anyio.to_thread.run_sync(archive.put, self.store, self.files, one, limiter=limiter)
            at = ArchivedRow(row.sha256, self.name, one.key, row.bytes, self.wall())
            await self.commits.write(lambda ledger: ledger.add_archived(at))
        except ObjectError as error:
            self._settled.discard(row.sha256)
            await self._judge(row, error)
        except StateError as error:  # of the ledger: everything else meets it too
            self._settled.discard(row.sha256)
            self._left[row.sha256] = row
            self._reasons.setdefault(str(error))
        except BaseException:
            self._settled.discard(row.sha256)
            self._waiting.append(row)  # cut: it is left, not lost
            raise
        else:
            self._left.pop(row.sha256, None)
            self.put += 1
            self.put_bytes += row.bytes
            self._told, self._pause = "", _FIRST_PAUSE
            told = {"identity": row.identity, "path": row.path, "object": at.address, "bytes": row.bytes}
            self._observers.pop(row.sha256, self.observe)("archive.stored", told)

    async def _judge(self, row: OutputRow, error: ObjectError) -> None:
        if error.trouble is ObjectTrouble.CHANGED:
            return  # gone, or a person's by now: nothing here is ours to archive
        self._reasons.setdefault(str(error))
        if not error.trouble.is_of_store:
            self._left[row.sha256] = row
            self._tell(error)
            return
        self._waiting.appendleft(row)
        if self._told != error.message:
            self._told = error.message
            self._tell(error)
        if error.trouble in FOR_GOOD or self._is_ending:
            self._is_over = True
            return
        pause = self._pause * self.random.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        with anyio.move_on_after(pause):
            while not self._is_ending:  # the end is worth one more try
                await self._news.wait()

    def _tell(self, error: ObjectError) -> None:
        self.observe("archive.trouble", {"reason": str(error), "exit_code": int(ExitCode.TRY_AGAIN)})
