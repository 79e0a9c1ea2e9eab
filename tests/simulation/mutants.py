"""The product with one of its safeguards taken away: the simulation has to notice each of them."""

from __future__ import annotations

import contextlib
import functools
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from runner.engine import download, evidence, reconcile, run
from runner.engine.collect import Collector
from runner.engine.evidence import Basis, Finding, Unclear
from runner.engine.files import FileStore
from runner.engine.reconcile import Reconciler
from runner.engine.webhook import Hints
from runner.engine.world import Paid
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Caps
from runner.providers.answers import Answer
from runner.providers.base import Generation, GenerationStatus, Reaction, SubmitOutcome, Verdict
from runner.providers.mesh import MeshProvider
from runner.providers.submit import Failure, SubmitTransport
from tests.simulation import process
from tests.simulation.simulate import replay

Mutant = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Catch:
    """The first schedule that a mutant does not survive; `schedules` counts those up to it."""

    schedules: int
    seed: int
    violation: str


def catch(name: str, *, most: int) -> Catch | None:
    """Plays the schedules of consecutive seeds with the mutant `name`, at most so many."""
    for seed in range(most):
        with MUTANTS[name]():
            verdict = replay(seed)
        if verdict.violations:
            return Catch(seed + 1, seed, verdict.violations[0])
    return None


@contextmanager
def _unsynced(step: str) -> Iterator[None]:
    """Commits that hold this step of the ledger are lost at a crash until a later commit is synced."""
    transaction, real = Ledger.transaction, getattr(Ledger, step)
    kept: dict[int, tuple[sqlite3.Connection, bytes]] = {}
    marked: set[int] = set()

    @functools.wraps(real)
    def marking(ledger: Ledger, *args: Any, **options: Any) -> Any:
        marked.add(id(ledger))
        return real(ledger, *args, **options)

    @contextmanager
    def committing(ledger: Ledger) -> Iterator[None]:
        before = ledger.image()
        with transaction(ledger):
            yield
        if id(ledger) in marked:
            marked.discard(id(ledger))
            kept.setdefault(id(ledger._db), (ledger._db, before))
        else:
            kept.pop(id(ledger._db), None)

    def crash_image(db: sqlite3.Connection) -> bytes:
        found = kept.get(id(db))
        return db.serialize() if found is None else found[1]

    with (
        patch.object(Ledger, step, marking),
        patch.object(Ledger, "transaction", committing),
        patch.object(process, "crash_image", crash_image),
    ):
        yield


@contextmanager
def _resubmitting(is_safe: Callable[[SubmitOutcome], bool]) -> Iterator[None]:
    """Takes some ambiguous outcomes for refusals, after which the same intent goes again."""
    submit = MeshProvider.submit

    async def hopeful(provider: MeshProvider, body: bytes) -> SubmitOutcome:
        outcome = await submit(provider, body)
        if outcome.verdict is Verdict.AMBIGUOUS and is_safe(outcome):
            return replace(outcome, verdict=Verdict.REJECTED, reaction=Reaction.BACK_OFF)
        return outcome

    with patch.object(MeshProvider, "submit", hopeful):
        yield


def _no_settle_time() -> AbstractContextManager[object]:
    def impatient(
        world: Any, control: Any, budget: Any, clock: Any, _settle: float, *rest: Any, **options: Any
    ) -> Reconciler:
        return Reconciler(world, control, budget, clock, 0.0, *rest, **options)

    return patch.object(run, "Reconciler", impatient)


def _adopt_by_seed_alone() -> AbstractContextManager[object]:
    judge = evidence.judge

    def careless(unclear: Sequence[Unclear], candidates: Sequence[Generation], *rest: Any) -> list[Finding]:
        found: list[Finding] = []
        for one, finding in zip(unclear, judge(unclear, candidates, *rest), strict=True):
            same = [row for row in candidates if row.echo.get("seed") == one.attempt.seed is not None]
            found.append(Finding(one.attempt.id, same[0], Basis.SEED) if same else finding)
        return found

    return patch.object(reconcile, "judge", careless)


@contextmanager
def _narrow_window() -> Iterator[None]:
    with patch.object(evidence, "SKEW", 0.0):
        yield


class _Counting(random.Random):
    """Ids of attempts count from 1 in every process; all else stays random."""

    def __init__(self, inner: random.Random) -> None:
        super().__init__(0)
        self._inner = inner
        self._last = 0

    def random(self) -> float:
        return self._inner.random()

    def getrandbits(self, k: int, /) -> int:
        if k != 128:
            return self._inner.getrandbits(k)
        self._last += 1
        return self._last


def _no_lock() -> AbstractContextManager[object]:
    return patch.object(process, "project_lock", lambda project: contextlib.nullcontext())


def _rename_without_fsync() -> AbstractContextManager[object]:
    def publish(files: FileStore, part: Path, target: Path) -> None:
        files.rename_new(part, target)

    return patch.object(download, "publish", publish)


def _redirects_followed() -> AbstractContextManager[object]:
    post = SubmitTransport.post

    async def following(transport: SubmitTransport, path: str, body: bytes) -> Answer | Failure:
        end = await post(transport, path, body)
        while isinstance(end, Answer) and 300 <= end.status < 400:
            end = await post(transport, path, body)
        return end

    return patch.object(SubmitTransport, "post", following)


@contextmanager
def _webhook_taken_as_truth() -> Iterator[None]:
    """A call is believed, whoever made it: the one that says `failed` ends a paid task."""
    wait, look = Hints.wait, Collector._look
    believed: set[str] = set()

    async def hearing(hints: Hints, attempt_id: str, seconds: float) -> bool:
        is_hinted = await wait(hints, attempt_id, seconds)
        if is_hinted:
            believed.add(attempt_id)
        return is_hinted

    async def believing(collector: Collector, paid: Paid) -> Generation:
        if paid.attempt_id in believed:
            return Generation(paid.remote_id, GenerationStatus.FAILED, "failed", error_code="said_by_a_call")
        return await look(collector, paid)

    with patch.object(Hints, "wait", hearing), patch.object(Collector, "_look", believing):
        yield


def _forgetful_of(cap: str) -> Mutant:
    check = Ledger._check_caps

    def checking(ledger: Ledger, run_id: str, estimate: int | None, caps: Caps) -> None:
        check(ledger, run_id, estimate, replace(caps, **{cap: None}))

    return lambda: patch.object(Ledger, "_check_caps", checking)


MUTANTS: Mapping[str, Mutant] = {
    "no durable intent": lambda: _unsynced("intend"),
    "retry on timeout": lambda: _resubmitting(lambda outcome: outcome.evidence.row in (6, 7)),
    "retry on 500": lambda: _resubmitting(lambda outcome: outcome.evidence.status == 500),
    "no settle time": _no_settle_time,
    "adopt by seed alone": _adopt_by_seed_alone,
    "believe a tag never seen echoed": lambda: patch.object(LedgerReader, "is_tag_believed", lambda *_: True),
    "a window too narrow": _narrow_window,
    "a counter as attempt id": lambda: patch.object(
        process, "random_of", lambda bench: _Counting(bench.random)
    ),
    "no lock": _no_lock,
    "rename without fsync": _rename_without_fsync,
    "a webhook taken as truth": _webhook_taken_as_truth,
    "redirects followed": _redirects_followed,
    "id not synced": lambda: _unsynced("accept"),
    "no cap on tasks": _forgetful_of("max_tasks"),
    "no cap in dollars": _forgetful_of("max_micros"),
}
"""By the names under the table of docs/reference/faults.md, and those of the caps."""
