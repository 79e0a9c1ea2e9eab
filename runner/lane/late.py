"""Rows that turn up late: what was taken for absent, or written off, and was accepted after all.

Looked for at the start and at the end of each `run` and `collect`, for as long as the service keeps records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import anyio

from runner.errors import CallsheetError
from runner.http.verdicts import ProviderError
from runner.lane.control import Control
from runner.lane.evidence import (
    Belief,
    Finding,
    Unclear,
    Witness,
    contradicts,
    excludes,
    rivals,
    witness,
)
from runner.lane.lane import Lane
from runner.lane.pace import Retry
from runner.lane.scan import DAY, SCAN_SECONDS, ListView, NoScanError, Scanner
from runner.ledger.ledger import RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Doubt, Grounds
from runner.ledger.states import Basis, Resolution, TaskState

LOOKING = "the service's list, for submits that were taken for never accepted"

TRIES = 3

_WAS: Mapping[str, str] = {Resolution.WRITTEN_OFF: "written off", Resolution.HELD: "held for a person"}

CREATED_WITHIN = 6 * 3600.0
"""Seconds after its connection was closed in which a late row of an attempt may have been created. Another
project's may carry the same tag some day: there are 65,535."""


@dataclass(slots=True)
class Lookback:
    """Makes paid attempts of what is found; the caller fetches their files."""

    lane: Lane
    scanner: Scanner
    control_of: Callable[[AttemptRow], Control]
    """Of the job that the attempt belongs to, or that looks after it."""

    async def find(self) -> list[AttemptRow]:
        """The attempts that the service turns out to have accepted. The ledger has them as submitted then.

        A list that cannot be read does not trouble the run: the next one looks again.
        """
        try:
            return await self._find_all()
        except CallsheetError as error:
            self.lane.gate.refuse(error)
        except Exception as error:
            self.lane.gate.defect("looking for submits that were taken for absent", error)
        return []

    async def _find_all(self) -> list[AttemptRow]:
        if self.lane.provider.listing is None or self.lane.gate.is_closed:
            return []
        looked_for = await self.lane.commits.read(partial(self._looked_for, offset=self.scanner.offset()))
        if not looked_for:
            return []
        self.lane.gate.waiting(LOOKING, SCAN_SECONDS * TRIES, len(looked_for))
        doubts = {one.attempt.id: doubt for one, doubt in looked_for}
        found: list[AttemptRow] = []
        for part in self.scanner.parts([one for one, _ in looked_for]):
            view = await self._look(part)
            if view is None:
                continue
            unresolved = await self.lane.commits.read(
                partial(self.scanner.unresolved, offset=self.scanner.offset())
            )
            for one in part:
                doubt = doubts[one.attempt.id]
                finding = self._finding_of(one, doubt, view, unresolved)
                if finding is not None:
                    found += await self._find(one, finding)
                elif one.attempt.resolution is Resolution.ABSENT and self._is_confirmed(one, doubt, view):
                    await self._confirm(one)
        self.lane.gate.waited(LOOKING)
        return found

    def _looked_for(self, reader: LedgerReader, offset: float) -> list[tuple[Unclear, Doubt]]:
        since = self.lane.machine.wall() - self.lane.provider.record_life
        is_by_tag = not self.lane.provider.input_fields
        attempts = reader.looked_for(self.lane.origin, self.lane.key_hash, since, is_by_tag=is_by_tag)
        # a machine that wakes after hours may send what was held when it fell silent
        held = reader.in_state(TaskState.HELD, origin=self.lane.origin, provider=self.lane.provider.name)
        attempts += [
            attempt
            for attempt in held
            if attempt.is_taken_over
            and attempt.key_hash == self.lane.key_hash
            and max(attempt.intended_at, attempt.server_time) >= since
        ]
        pairs = (
            (one, reader.doubt(one.attempt.id)) for one in self.scanner.unclear(reader, attempts, offset)
        )
        return [(one, doubt) for one, doubt in pairs if doubt is not None]

    async def _look(self, looked_for: list[Unclear]) -> ListView | None:
        retry = Retry(self.lane.machine.random, TRIES)
        while True:
            try:
                return await self.scanner.look(looked_for)
            except (ProviderError, NoScanError) as error:
                if retry.failed():
                    self.lane.gate.tell("run.not_looked_back", reason=str(error))
                    return None
            await anyio.sleep(retry.pause())

    def _finding_of(
        self, one: Unclear, doubt: Doubt, view: ListView, unresolved: Sequence[Unclear]
    ) -> Finding | None:
        """The one row that carries the attempt's tag, or its input where no other attempt may have sent that,
        if these are believed and nothing contradicts.
        """
        candidates = [row for row in view.candidates if row.id not in view.foreign_ids]
        if one.belief.tag is Belief.EARNED and one.tag is not None:
            basis = Basis.TAG
            rows = [row for row in candidates if row.final_tag == one.tag]
        elif one.belief.input is Belief.EARNED:
            basis = Basis.INPUT
            rows = [row for row in candidates if one.shows_input(row)]
            if any(rivals(one, row, unresolved) for row in rows):
                return None
        else:
            return None
        if len(rows) != 1 or contradicts(one, rows[0]) or rows[0].created_at is None:
            return None
        closed_at = max(
            one.attempt.server_time + doubt.at - one.attempt.intended_at, doubt.at + self.scanner.offset()
        )
        is_in_time = rows[0].created_at <= closed_at + CREATED_WITHIN
        return Finding(one.attempt.id, rows[0], basis) if is_in_time else None

    async def _find(self, one: Unclear, finding: Finding) -> list[AttemptRow]:
        assert finding.adopted is not None
        attempt, row, at = one.attempt, finding.adopted, self.lane.machine.wall()
        was = attempt.resolution or attempt.state
        grounds = finding.grounds().also(was=was)
        try:
            passed = await self.lane.commits.write(
                lambda ledger: ledger.find(attempt.id, row.id, grounds, at)
            )
        except RemoteIdTakenError:
            return []
        control = self.control_of(attempt)
        who = {"task": one.name, "identity": attempt.identity, "attempt": attempt.id}
        told = {**who, "remote_id": row.id, **grounds.facts}
        control.observe("task.found", {**told, "account": self.lane.gate.account})
        said = _WAS.get(was, "taken for never accepted")
        control.note(
            f"{one.name}: a submit that was {said} is in the service's list after all, as {row.id}:"
            " it is paid for, and its video is fetched and kept"
        )
        control.exceeded(self.lane.gate.account, passed)
        found = await self.lane.commits.read(lambda reader: reader.attempt(attempt.id))
        assert found is not None
        return [found]

    def _is_confirmed(self, one: Unclear, doubt: Doubt, view: ListView) -> bool:
        """Whether a day later the list, by a witness, still excludes it."""
        closed_at = one.attempt.server_time + doubt.at - one.attempt.intended_at
        shown = witness(one, doubt.order, view.accepted, view.rows)
        return (
            self.lane.clock.is_known
            and view.is_readable
            and self.lane.clock.passed(closed_at, doubt.at).least >= DAY
            and shown in (Witness.EARLY, Witness.LATE)
            and all(excludes(one, row) for row in view.candidates)
        )

    async def _confirm(self, one: Unclear) -> None:
        attempt_id, before = one.attempt.id, one.attempt.resolution_evidence or Grounds({})
        grounds = before.also(confirmed_at=self.lane.machine.wall())
        await self.lane.commits.write(
            lambda ledger: ledger.settle_absent(attempt_id, Resolution.CONFIRMED, grounds)
        )
