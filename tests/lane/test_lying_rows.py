"""Lists whose rows lie: about when they were made, about whose id they have, or that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.http.verdicts import ProviderError, Trouble
from runner.lane.lane import LaneTools
from runner.ledger.states import TaskState
from runner.providers.base import Generation, GenerationStatus, ListPage, ListQuery, RemoteTask
from runner.sandbox import SandboxServer
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import cut, run_changed

pytestmark = pytest.mark.anyio

JOB = job_text(seeds=3, run="settle: 0s, submit_slots: 1")
"""The second of its submits is cut."""

FOREIGN = Generation("t-foreign", GenerationStatus.SUCCEEDED, "succeeded", model="byteplus/seedance-1-0-pro")


@dataclass
class Altered:
    """A service whose lists are changed on the way; another account's task answers 403 to a GET."""

    client: Any
    alter: Callable[[ListPage], ListPage]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def list_page(self, query: ListQuery) -> ListPage:
        return self.alter(await self.client.list_page(query))

    async def get(self, task: RemoteTask) -> Generation:
        if task.id == FOREIGN.id:
            raise ProviderError(Trouble.KEY_REFUSED, "not yours", status=403)
        found: Generation = await self.client.get(task)
        return found


def altered(change: Callable[[ListPage], ListPage]) -> Callable[[LaneTools], LaneTools]:
    return lambda lane: replace(lane, client=Altered(lane.client, change))  # type: ignore[arg-type]


def each_row(change: Callable[[Generation], Generation]) -> Callable[[ListPage], ListPage]:
    return lambda page: replace(page, rows=tuple(map(change, page.rows)))


@pytest.mark.fault(58)
@pytest.mark.parametrize("seconds", [65, 180, 7200, 1e9])
@pytest.mark.parametrize("is_of_all", [True, False])
async def test_a_time_of_creation_excludes_no_row(
    bench: RunBench, server: SandboxServer, seconds: float, is_of_all: bool
) -> None:
    """Of all rows (a database with a clock of its own), or of the one in doubt alone.

    Submits may come in any order: the one in doubt is the second that the service accepted.
    """

    def made_earlier(row: Generation) -> Generation:
        in_doubt = [task.id for task in server.tasks()[1:2]]
        if row.created_at is None or not (is_of_all or row.id in in_doubt):
            return row
        return replace(row, created_at=row.created_at - seconds)

    server.faults.add(cut(accept=True, after=1))
    result = await run_changed(bench, JOB, altered(each_row(made_earlier)))
    assert server.accepted == 3
    assert result.counts[TaskState.DONE] >= 2
    assert result.exit_code in (ExitCode.DONE, ExitCode.PERSON_NEEDED)


@pytest.mark.fault(12)
async def test_a_row_under_an_id_that_another_task_holds_is_no_proof_of_absence(
    bench: RunBench, server: SandboxServer
) -> None:
    """A service that lost its database counts its ids anew."""

    @dataclass
    class Restarted(Altered):
        """The row in doubt has the id of the first that was accepted, in the list and by GET.

        Submits may come in any order, so the seeds are read at the service.
        """

        ids: dict[object, str] = field(default_factory=dict)

        @property
        def first(self) -> object:
            return server.tasks()[0].request["seed"]

        @property
        def in_doubt(self) -> object:
            return next((task.request["seed"] for task in server.tasks()[1:]), None)

        async def list_page(self, query: ListQuery) -> ListPage:
            page: ListPage = await self.client.list_page(query)
            self.ids.update((row.echo.get("seed"), row.id) for row in page.rows)
            rows = tuple(
                replace(row, id=self.ids[self.first]) if row.echo.get("seed") == self.in_doubt else row
                for row in page.rows
                if row.echo.get("seed") != self.first or self.in_doubt not in self.ids
            )
            return replace(page, rows=rows, total=len(rows))

        async def get(self, task: RemoteTask) -> Generation:
            is_taken = self.in_doubt in self.ids and task.id == self.ids[self.first]
            found: Generation = await self.client.get(
                RemoteTask(self.ids[self.in_doubt]) if is_taken else task
            )
            return replace(found, id=task.id)

    server.faults.add(cut(accept=True, after=1))
    result = await run_changed(
        bench,
        JOB,
        lambda lane: replace(lane, client=Restarted(lane.client, lambda page: page)),  # type: ignore[arg-type]
    )
    assert server.accepted == 3
    assert result.exit_code in (ExitCode.PERSON_NEEDED, ExitCode.TRY_AGAIN)
    assert result.counts[TaskState.DONE] >= 1


async def test_an_id_that_was_given_away_twice_brings_no_wrong_video(
    bench: RunBench, server: SandboxServer
) -> None:
    """What the first task's id shows carries the tag of the third."""
    tags: dict[int, int] = {}

    @dataclass
    class Renumbered(Altered):
        async def get(self, task: RemoteTask) -> Generation:
            found: Generation = await self.client.get(task)
            seed, tag = found.echo.get("seed"), found.tag
            if isinstance(seed, int) and tag is not None:
                tags[seed] = tag
            return replace(found, tag=tags[3]) if seed == 1 and 3 in tags else found

    result = await run_changed(
        bench,
        job_text(seeds=3, run="submit_slots: 3, poll: {min: 20ms, max: 20ms, first: 300ms}").replace(
            "poll: {first: 20ms, min: 20ms, max: 50ms}, ", ""
        ),
        lambda lane: replace(lane, client=Renumbered(lane.client, lambda page: page)),  # type: ignore[arg-type]
    )
    states = [(state, count) for state, count in result.counts.items() if count]
    if result.exit_code is ExitCode.PERSON_NEEDED:
        assert not (bench.project.base / "out" / "s1.mp4").exists()
        assert any("given this id away twice" in reason for reason in result.reasons)
    else:  # seed 1 was looked at before seed 3's tag was known
        assert states == [(TaskState.DONE, 3)]


def with_a_foreign_row(page: ListPage) -> ListPage:
    return replace(page, rows=(*page.rows, FOREIGN), total=page.total + 1)


def with_an_unreadable_row(page: ListPage) -> ListPage:
    return replace(page, total=page.total + 1, unreadable=1)


@pytest.mark.parametrize("change", [with_a_foreign_row, with_an_unreadable_row])
@pytest.mark.parametrize("accept", [True, False])
async def test_a_row_that_is_not_ours_to_read_forbids_absence_and_nothing_else(
    bench: RunBench, server: SandboxServer, change: Callable[[ListPage], ListPage], accept: bool
) -> None:
    """What was accepted is adopted; what was not is never bought again on such a list."""
    server.faults.add(cut(accept=accept, after=1))
    result = await run_changed(bench, JOB, altered(change))
    assert server.accepted == 2 + accept
    assert result.counts[TaskState.DONE] == 2 + accept
