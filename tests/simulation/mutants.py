"""The product with one of its safeguards taken away: the simulation has to notice each of them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any
from unittest.mock import patch

from runner.http.answers import Answer
from runner.http.paid import Failure, PaidRequests
from runner.http.verdicts import Reaction, SubmitOutcome, Verdict
from runner.job.model import RunPolicy
from runner.job.project_file import Window, WindowCap
from runner.lane import evidence, reconcile, scan, submit
from runner.lane.evidence import Belief, Finding, Unclear, Witness, witness
from runner.lane.late import Lookback
from runner.lane.reconcile import Case
from runner.lane.scan import Scanner
from runner.ledger.caps import Budgets, Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Echoes, Spend
from runner.ledger.states import Basis, Reason, Resolution
from runner.providers.base import Body, Generation, GenerationStatus, ListQuery
from runner.providers.mesh import MESH
from runner.providers.mesh.client import MeshClient
from runner.providers.provider import Listing, ListKind
from runner.run.task import relocate
from runner.run.task.watch import Watch
from runner.run.task.webhook import Hints
from runner.store import download
from runner.store import files as store_files
from runner.store.files import FileStore
from runner.times import local_day
from tests.simulation import process
from tests.simulation.kinds import ENDED, Kind
from tests.simulation.schedule import SETTLE_ALONE, Schedule, Shape, daily, draw, side_by_side
from tests.simulation.service import ListFault
from tests.simulation.simulate import play

Mutant = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Catch:
    """The first schedule that a mutant does not survive; `schedules` counts those up to it."""

    schedules: int
    seed: int
    violation: str


def catch(name: str, *, most: int, first: int = 0) -> Catch | None:
    """Plays schedules with the mutant `name`, at most so many.

    They are those of consecutive seeds, from `first` on, for which the safeguard is there.
    """
    played = 0
    for seed in itertools.count(first):
        schedule = schedule_of(name, seed)
        if name in _IS_FOR and not _IS_FOR[name](schedule):
            continue
        with MUTANTS[name]():
            verdict = play(schedule)
        played += 1
        if verdict.violations:
            return Catch(played, seed, verdict.violations[0])
        if played == most:
            return None
    return None


def schedule_of(name: str, seed: int) -> Schedule:
    """The schedule of a seed as it is played against the mutant `name`."""
    if name in _IN_LANES:
        return side_by_side(seed)
    schedule = draw(seed)
    return daily(schedule) if name in _DAILY and schedule.job.cap is not None else schedule


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
        before = ledger._db.serialize()
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
    submit = MeshClient.submit

    async def hopeful(provider: MeshClient, body: Body) -> SubmitOutcome:
        outcome = await submit(provider, body)
        if outcome.verdict is Verdict.AMBIGUOUS and is_safe(outcome):
            return replace(outcome, verdict=Verdict.REJECTED, reaction=Reaction.BACK_OFF)
        return outcome

    with patch.object(MeshClient, "submit", hopeful):
        yield


def _patched_case(name: str, change: Callable[[Any], Any]) -> AbstractContextManager[object]:
    """Cases that go by another policy, or by another attempt, than they are given."""
    real = getattr(Case, name)

    def call(case: Case, *arguments: Any) -> Any:
        return real(case, *map(change, arguments))

    return patch.object(Case, name, call)


def _no_settle_time() -> AbstractContextManager[object]:
    def impatient(argument: Any) -> Any:
        return (
            replace(argument, settle=0.0, settle_alone=0.0) if isinstance(argument, RunPolicy) else argument
        )

    return _patched_case("count", impatient)


def _absence_taken_twice() -> AbstractContextManager[object]:
    def forgetful(argument: Any) -> Any:
        if not isinstance(argument, Unclear):
            return argument
        return replace(argument, attempt=replace(argument.attempt, reason=Reason.RUN))

    return _patched_case("hold_reason", forgetful)


def _witness_taken_for(least: Witness, taken: Witness) -> Mutant:
    def seen(*arguments: Any) -> Witness | None:
        found = witness(*arguments)
        return taken if found is not None and found >= least else found

    return lambda: patch.object(reconcile, "witness", seen)


@contextmanager
def _undecided_values() -> Iterator[None]:
    with (
        patch.object(Generation, "final_tag", property(lambda row: row.tag)),
        patch.object(Generation, "final_seed", property(lambda row: row.echo.get("seed"))),
    ):
        yield


def _belief_that_stays(echoes: Echoes) -> Belief:
    """The ledger keeps another value in place of the right one: whatever came back keeps the belief."""
    return Belief.EARNED if echoes.same or echoes.other else Belief.UNKNOWN


def _uncounted_absence() -> AbstractContextManager[object]:
    resolve = Ledger.resolve

    def resolving(
        ledger: Ledger, attempt_id: str, resolution: str, told: Any, *rest: Any, **more: Any
    ) -> None:
        resolve(ledger, attempt_id, resolution, told, *rest, **more)  # type: ignore[arg-type]
        if resolution == Resolution.ABSENT:
            ledger.settle_absent(attempt_id, Resolution.CONFIRMED, told)

    return patch.object(Ledger, "resolve", resolving)


def _nobody_looks_back() -> AbstractContextManager[object]:
    async def find(lookback: Lookback) -> list[Any]:
        return []

    return patch.object(Lookback, "find", find)


def _list_without_bounds() -> AbstractContextManager[object]:
    async def read(scanner: Scanner, since: float, one: Unclear) -> scan._Listed:
        rows: dict[str, Generation] = {}
        offset = 0
        while True:
            await scanner.lane.requests.acquire()
            page = await scanner.lane.client.list_page(ListQuery(since, 200, offset, scope=one.scope))
            rows.update((row.id, row) for row in page.rows)
            offset += len(page.rows)
            if not page.has_more:
                return scan._Listed(rows, 0, 1)

    return patch.object(Scanner, "_read_list", read)


def _adopt_by_seed_alone() -> AbstractContextManager[object]:
    match_rows = evidence.match_rows

    def careless(unclear: Sequence[Unclear], candidates: Sequence[Generation], *rest: Any) -> list[Finding]:
        found: list[Finding] = []
        for one, finding in zip(unclear, match_rows(unclear, candidates, *rest), strict=True):
            same = [row for row in candidates if row.echo.get("seed") == one.attempt.seed is not None]
            found.append(Finding(one.attempt.id, same[0], Basis.SEED) if same else finding)
        return found

    return patch.object(reconcile, "match_rows", careless)


@contextmanager
def _narrow_window() -> Iterator[None]:
    with (
        patch.object(evidence, "SKEW", 0.0),
        patch.object(scan, "SKEW", 0.0),
        patch.object(scan, "MARGIN", 0.0),
        patch.object(Scanner, "_behind", lambda *_: 0.0),
    ):
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
    def publish(files: FileStore, part: Path, target: Path, *, kept: Path | None = None) -> None:
        (files.rename_new if kept is None else files.rename_over)(part, target)

    return patch.object(download, "publish", publish)


def _redirects_followed() -> AbstractContextManager[object]:
    post = PaidRequests.post

    async def following(paid: PaidRequests, path: str, body: bytes, **more: Any) -> Answer | Failure:
        end = await post(paid, path, body, **more)
        while isinstance(end, Answer) and 300 <= end.status < 400:
            end = await post(paid, path, body, **more)
        return end

    return patch.object(PaidRequests, "post", following)


@contextmanager
def _webhook_taken_as_truth() -> Iterator[None]:
    """A call is believed, whoever made it: the one that says `failed` ends a paid task."""
    wait, look = Hints.wait, Watch.look
    believed: set[str] = set()

    async def hearing(hints: Hints, attempt_id: str, *rest: Any) -> bool:
        is_hinted = await wait(hints, attempt_id, *rest)
        if is_hinted:
            believed.add(attempt_id)
        return is_hinted

    async def believing(watch: Watch) -> Generation:
        paid = watch.paid
        if paid.attempt_id in believed:
            return Generation(paid.remote_id, GenerationStatus.FAILED, "failed", error_code="said_by_a_call")
        return await look(watch)

    with patch.object(Hints, "wait", hearing), patch.object(Watch, "look", believing):
        yield


def _forgetful_of(cap: str) -> Mutant:
    check = Caps.check

    def checking(caps: Caps, spent: Spend, estimate: int | None) -> None:
        check(replace(caps, **{cap: None}), spent, estimate)

    return lambda: patch.object(Caps, "check", checking)


def _no_cap_where(is_forgotten: Callable[[WindowCap], bool]) -> Mutant:
    check = Budgets.check

    def checking(budgets: Budgets, cap: WindowCap, *rest: Any) -> None:
        if not is_forgotten(cap):
            check(budgets, cap, *rest)

    return lambda: patch.object(Budgets, "check", checking)


@contextmanager
def _renamed_over_unlinked() -> Iterator[None]:
    """The ledger is told of a version that was never linked, and the new take goes over the old one."""
    with (
        patch.object(relocate, "_link_all", lambda *_: True),
        patch.object(store_files, "has_copy", lambda *_: True),
    ):
        yield


def _history_taken_for_a_list() -> AbstractContextManager[object]:
    assert ENDED.listing is not None
    return patch.dict(vars(ENDED), {"listing": replace(ENDED.listing, kind=ListKind.CURSOR)})


def _cursor_that_comes_again() -> AbstractContextManager[object]:
    async def read(get: scan.GetPage, query: ListQuery, listing: Listing) -> scan._Listed:
        rows: dict[str, Generation] = {}
        cursors = {""}
        while True:
            page = await get(query)
            rows.update((row.id, row) for row in page.rows)
            if page.cursor in cursors:
                return scan._Listed(rows, 0, len(cursors))
            cursors.add(page.cursor)
            query = replace(query, cursor=page.cursor)

    return patch.dict(scan._READERS, {ListKind.CURSOR: read})


MUTANTS: Mapping[str, Mutant] = {
    "no durable intent": lambda: _unsynced("intend"),
    "retry on timeout": lambda: _resubmitting(lambda outcome: outcome.evidence.row in (6, 7)),
    "retry on 500": lambda: _resubmitting(lambda outcome: outcome.evidence.status == 500),
    "no settle time": _no_settle_time,
    "adopt by seed alone": _adopt_by_seed_alone,
    "believe a tag never seen echoed": lambda: patch.object(evidence, "_belief", lambda _: Belief.EARNED),
    "a window too narrow": _narrow_window,
    "a counter as attempt id": lambda: patch.object(
        process, "random_of", lambda bench: _Counting(bench.random)
    ),
    "no lock": _no_lock,
    "rename without fsync": _rename_without_fsync,
    "a webhook taken as truth": _webhook_taken_as_truth,
    "redirects followed": _redirects_followed,
    "id not synced": lambda: _unsynced("accept"),
    "absence without a witness": _witness_taken_for(Witness.NONE, Witness.LATE),
    "an early witness taken for a late one": _witness_taken_for(Witness.EARLY, Witness.LATE),
    "an undecided value taken for evidence": _undecided_values,
    "belief that one other value does not end": lambda: patch.object(evidence, "_belief", _belief_that_stays),
    "absence taken twice": _absence_taken_twice,
    "absence that no cap counts": _uncounted_absence,
    "a late row that nobody looks for": _nobody_looks_back,
    "404s that end a paid task": lambda: patch.dict(vars(MESH), {"record_life": 60.0}),
    "submitting that doubts do not stop": lambda: patch.object(submit, "MOST_DOUBTS", 1000),
    "a list without bounds": _list_without_bounds,
    "an older take that is renamed over without a link": _renamed_over_unlinked,
    "a missing row of a history taken for absence": _history_taken_for_a_list,
    "a cursor that comes again taken for the end": _cursor_that_comes_again,
    "an input adopted in spite of a rival": lambda: patch.object(evidence, "rivals", lambda *_: []),
    "no cap on tasks": _forgetful_of("max_tasks"),
    "no cap in dollars": _forgetful_of("max_micros"),
    "no cap of a day": lambda: patch.object(Ledger, "_check_budgets", lambda *_: None),
    "no cap of a month": _no_cap_where(lambda cap: cap.window is Window.MONTH),
    "no cap of an account": _no_cap_where(lambda cap: bool(cap.where.account)),
    "no cap in the project's own days": lambda: patch.object(
        Budgets, "day", lambda _, at: local_day(at, UTC)
    ),
}
"""By the names under the table of docs/reference/faults.md, and those of the caps."""


CATCHING: Mapping[str, int] = {
    "no durable intent": 20,
    "retry on timeout": 29,
    "retry on 500": 38,
    "no settle time": 77,
    "adopt by seed alone": 33,
    "believe a tag never seen echoed": 116,
    "a window too narrow": 10,
    "a counter as attempt id": 12,
    "no lock": 11,
    "rename without fsync": 11,
    "a webhook taken as truth": 1,
    "redirects followed": 88,
    "id not synced": 18,
    "absence without a witness": 36,
    "an early witness taken for a late one": 275,
    "an undecided value taken for evidence": 2198,
    "belief that one other value does not end": 116,
    "absence that no cap counts": 275,
    "404s that end a paid task": 54,
    "an older take that is renamed over without a link": 12,
    "a missing row of a history taken for absence": 55,
    "no cap on tasks": 87,
    "no cap in dollars": 93,
    "no cap of a day": 87,
    "no cap of a month": 0,
    "no cap of an account": 0,
    "no cap in the project's own days": 11,
}
"""Seeds of schedules that catch a mutant, so that no others have to be played each time."""

_DAILY = frozenset({"no cap of a day"})
_IN_LANES = frozenset(
    {
        "no cap of a month",
        "no cap of an account",
        "no cap in the project's own days",
    }
)


def _lies_by(*lies: str) -> Callable[[Schedule], bool]:
    return lambda schedule: not set(lies).isdisjoint(schedule.habits.lies)


def _decides_late(schedule: Schedule) -> bool:
    """Only a task that waits longer than the list is waited for can be taken for absent meanwhile."""
    is_late = schedule.habits.queued > SETTLE_ALONE * schedule.job.settle
    return _lies_by("undecided")(schedule) and is_late and schedule.has_history


def _ends_nowhere(schedule: Schedule) -> bool:
    is_by_cursor = schedule.kind in (Kind.TEXT, Kind.INPUT)
    return is_by_cursor and schedule.habits.list_fault is ListFault.ENDLESS and schedule.job.tasks > 2


def _has_equal_inputs(schedule: Schedule) -> bool:
    is_equal = schedule.job.shape is Shape.SAMPLES and schedule.job.tasks > 1
    return schedule.kind is Kind.INPUT and is_equal and _lies_by("unclear")(schedule)


_IS_FOR: Mapping[str, Callable[[Schedule], bool]] = {
    "an early witness taken for a late one": _lies_by("list lags", "list stops", "list fault"),
    "an undecided value taken for evidence": _decides_late,
    "belief that one other value does not end": _lies_by("tags turn", "seeds", "tags"),
    "absence taken twice": _lies_by("unclear", "list lags", "list stops"),
    "absence that no cap counts": _lies_by("list lags", "list stops"),
    "a late row that nobody looks for": _lies_by("list lags", "list stops"),
    "404s that end a paid task": _lies_by("lost"),
    "submitting that doubts do not stop": _lies_by("unclear"),
    "a list without bounds": _lies_by("list fault"),
    "an older take that is renamed over without a link": lambda schedule: schedule.has_edits,
    "a missing row of a history taken for absence": lambda schedule: schedule.kind is Kind.HISTORY,
    "a cursor that comes again taken for the end": _ends_nowhere,
    "an input adopted in spite of a rival": _has_equal_inputs,
    "no cap on tasks": lambda schedule: schedule.job.max_tasks is not None,
    "no cap in dollars": lambda schedule: schedule.job.max_usd is not None,
    "no cap of a day": lambda schedule: bool(schedule.caps),
    "no cap of a month": lambda schedule: any(cap.window is Window.MONTH for cap in schedule.caps),
    "no cap of an account": lambda schedule: any(cap.where.account for cap in schedule.caps),
    "no cap in the project's own days": lambda schedule: bool(schedule.caps),
}
"""The schedules for which a safeguard is there; without an entry any will do."""
