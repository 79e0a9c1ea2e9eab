"""From an accepted POST to verified files: look until it is terminal, fetch by deadline, publish."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field

import anyio

from runner.errors import ExitCode, OutOfMoneyError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import RunPolicy
from runner.json_value import JsonValue
from runner.lane.control import Control
from runner.lane.pace import PrioritySlots, RequestBudget, StillLimitedError
from runner.lane.retry import Retry
from runner.lane.world import Paid, ServerClock, World
from runner.ledger.rows import Kind, OutputRow
from runner.providers.base import (
    Generation,
    GenerationStatus,
    RemoteFile,
    RemoteFileKind,
    generation_seconds,
)
from runner.run.results import (
    Home,
    asked_for,
    file_at,
    missing_of,
    output_path,
    part_path,
    places,
    standing_here,
    words_of,
)
from runner.run.wait import Expectation, expect, look_after_call, next_look
from runner.store.download import DownloadError, DownloadRequest, DownloadTrouble, FileRecord
from runner.times import iso_time

LOOK_FAILURES = 10
"""Looks that may fail in a row before a task is left for the next run."""

LIMITED_LOOKS = 60
"""429s in a row to one look; `run.timeout` ends them earlier where the waits between them are long."""

MISSING_LOOKS = 3
"""So many 404s in a row, after the life of its record, mean that the service has forgotten the task."""

FETCH_TRIES = 6

MOST_TAKEN = 100
"""Names that other files have, of a video and those that it could have instead."""
MOST_FILES = 32
"""Files of one generation that are fetched; an answer of 1 MiB could name 20,000."""

REMEMBERED = 200
"""Durations of a kind that looks go by, the newest."""

SAFETY_NET = 10.0
"""With a webhook, looks are this many times `run.poll.max` apart."""


class LeftForLater(Exception):  # noqa: N818  not an error: a paid task that the next run goes on with
    """This process gives up on a task that stays resumable; says why."""

    def __init__(self, reason: str, code: ExitCode = ExitCode.TRY_AGAIN) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class GoneError(Exception):
    """The service no longer has what was paid for."""


@dataclass(slots=True)
class Collector:
    """Waits for accepted tasks and fetches what they made. Never submits anything."""

    world: World
    control: Control
    budget: RequestBudget
    clock: ServerClock
    policy: RunPolicy
    downloads: PrioritySlots
    _seen: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    """Status and tag last seen of each attempt under way: only a change is noted and told."""
    _durations: dict[Kind, deque[float]] = field(default_factory=dict)
    """Seconds that the newest generations of a kind took: the ledger's, and those seen since."""

    async def wait(self, paid: Paid) -> Generation:
        """Looks until the service's status is terminal. Raises LeftForLater and GoneError.

        A task that waits longer than `run.timeout` is left, never failed: it goes on at the service.
        """
        waited = anyio.current_time() - paid.since
        first = await self._until_next_look(paid, 0.0)
        if not paid.is_taken_over and self.policy.poll.first is None:
            first = self._spaced(first)
        pause = max(0.0, min(first, self.policy.timeout) - waited)
        while True:
            is_hinted = await self._pause(paid, pause)
            generation = await self.look(paid)
            if generation.status is not None and generation.status.is_terminal:
                self._learn(paid, generation)
                return generation
            waited = anyio.current_time() - paid.since
            if waited >= self.policy.timeout:
                raise LeftForLater(
                    f"{paid.name}: not ready after {waited:.0f} s (run.timeout); it goes on at the service"
                )
            remaining = max(0.0, self.policy.timeout - waited)
            if is_hinted:
                following = look_after_call(self.policy.poll, waited)
            else:
                following = self._spaced(await self._until_next_look(paid, waited))
            pause = min(following, remaining)

    async def _until_next_look(self, paid: Paid, waited: float) -> float:
        poll = self.policy.poll
        if waited <= 0 and poll.first is not None:
            return poll.first
        expected = await self._expected(paid)
        return next_look(expected, poll, waited, self.world.seams.random, queue=self.budget.queue)

    async def _expected(self, paid: Paid) -> Expectation:
        kind = paid.kind
        if kind not in self._durations:
            found = await self.world.commits.read(lambda reader: reader.durations(kind, REMEMBERED))
            self._durations[kind] = deque(reversed(found), maxlen=REMEMBERED)
        return expect(
            self._durations[kind], None if self.world.is_loopback else self.world.provider.usual_seconds
        )

    def _learn(self, paid: Paid, generation: Generation) -> None:
        """Takes the service's own times: ours would hold the delay of the look."""
        durations = self._durations.get(paid.kind)
        if durations is None or generation.status is not GenerationStatus.SUCCEEDED:
            return
        known = anyio.current_time() - paid.since
        seconds = generation_seconds(generation.created_at, generation.updated_at, known=known)
        if seconds is not None:
            durations.append(seconds)

    def _spaced(self, seconds: float) -> float:
        """With a webhook, polling is only the safety net for calls that do not come."""
        if self.world.hints is None:
            return seconds
        return max(seconds, SAFETY_NET * self.policy.poll.maximum)

    async def _pause(self, paid: Paid, seconds: float) -> bool:
        """Sleeps, or less where a webhook says that there is something to see; whether one did.

        However often it calls, the looks stay `run.poll.min` apart.
        """
        hints = self.world.hints
        if hints is None:
            await anyio.sleep(seconds)
            return False
        started = anyio.current_time()
        is_hinted = await hints.wait(paid.attempt_id, seconds)
        if paid.attempt_id in self._seen:
            await anyio.sleep(max(0.0, started + self.policy.poll.minimum - anyio.current_time()))
        return is_hinted

    async def bring_home(self, paid: Paid, generation: Generation) -> Home:
        """Fetches what is not here yet of a succeeded generation, and waits for what was asked for and
        is not shown yet, for as long as a result's URL lives.

        Each file is in the ledger as soon as it stands. Raises LeftForLater, and GoneError where not
        even the video is here.
        """
        wanted = await asked_for(self.world, paid)
        here = {(row.kind, row.ordinal): row for row in await standing_here(self.world, paid)}
        since = anyio.current_time()
        while True:
            try:
                await self._fetch_new(paid, generation, wanted, here)
                missing = missing_of(wanted, here.values())
                if not missing or self._is_past_life(paid):
                    return Home(tuple(here.values()), missing)
                generation = await self._look_for_rest(paid, missing, since)
            except GoneError:
                missing = missing_of(wanted, here.values())
                if RemoteFileKind.VIDEO in missing:
                    raise
                return Home(tuple(here.values()), missing)

    async def missing(self, paid: Paid) -> frozenset[RemoteFileKind]:
        """The kinds of files that were asked for and do not stand here, whole."""
        return missing_of(await asked_for(self.world, paid), await standing_here(self.world, paid))

    async def _fetch_new(
        self,
        paid: Paid,
        generation: Generation,
        wanted: frozenset[RemoteFileKind],
        here: dict[tuple[str, int], OutputRow],
    ) -> None:
        """Fetches each file that is shown and not here, and records it; nearest deadline first."""
        deadline = min((file.expires_at or math.inf for file in generation.files), default=math.inf)
        async with self.downloads.slot(deadline):
            for kind, ordinal in places(generation)[:MOST_FILES]:
                if (kind, ordinal) in here:
                    continue
                try:
                    row = await self._fetch_one(paid, generation, kind, ordinal)
                except (GoneError, LeftForLater) as trouble:
                    if kind in wanted:
                        raise
                    # nobody asked for it, so nothing waits for it
                    reason = f"{paid.name}: a {kind} that was not asked for: {trouble}"
                    self.world.observe("task.left", {"task": paid.name, "reason": reason})
                    continue
                await self.world.commits.write(lambda ledger, row=row: ledger.add_outputs([row]))  # type: ignore[misc]
                here[kind, ordinal] = row
                self.world.observe(
                    "task.file",
                    {"task": paid.name, "identity": paid.identity, "path": row.path, "bytes": row.bytes},
                )

    async def _look_for_rest(
        self, paid: Paid, missing: frozenset[RemoteFileKind], since: float
    ) -> Generation:
        """Another look at a generation that showed less than was asked for, paced as all looks are."""
        now = anyio.current_time()
        remaining = self.policy.timeout - (now - paid.since)
        if remaining <= 0:
            raise LeftForLater(
                f"{paid.name}: {words_of(missing)} is still to come after run.timeout; what came is here, and"
                " the next run looks again"
            )
        await anyio.sleep(min(look_after_call(self.policy.poll, now - since), remaining))
        return await self.look(paid)

    def _is_past_life(self, paid: Paid) -> bool:
        """Whether a result's URL has lived its time since the acceptance, by the slower of two clocks."""
        by_ours = anyio.current_time() - paid.since
        return min(by_ours, self.clock.earliest() - paid.server_time) > self.world.provider.url_life

    async def refresh(self, paid: Paid) -> Generation:
        """A succeeded generation with fresh URLs. Raises LeftForLater, GoneError."""
        generation = await self.look(paid)
        if generation.status is not GenerationStatus.SUCCEEDED or not any(
            file.kind is RemoteFileKind.VIDEO for file in generation.files
        ):
            raise LeftForLater(f"{paid.name}: the service shows no result at the moment")
        return generation

    async def look(self, paid: Paid) -> Generation:
        """One answer of the service, through whatever passes. Raises LeftForLater, GoneError."""
        retry = Retry(self.world.seams.random, LOOK_FAILURES, base=1.0)
        missing = limited = 0
        while True:
            try:
                await self.budget.acquire()
                generation = await self.world.client.get(paid.remote_id)
            except StillLimitedError as error:
                raise LeftForLater(error.message) from None
            except ProviderError as error:
                if error.trouble is Trouble.RATE_LIMITED and limited < LIMITED_LOOKS:
                    limited += 1
                    self.budget.refused(error)
                    continue
                self.budget.answered()
                is_last = retry.failed()
                missing = missing + 1 if error.trouble is Trouble.NOT_FOUND else 0
                is_gone = missing >= MISSING_LOOKS and self._may_be_forgotten(paid)
                self._judge(paid, error, is_last=is_last, is_gone=is_gone)
                await anyio.sleep(min(error.retry_after or retry.pause(), self.policy.poll.maximum))
                continue
            self.budget.answered()
            self.clock.hear(generation.server_time)
            await self._check_own(paid, generation)
            self._note(paid, generation)
            return generation

    async def _check_own(self, paid: Paid, generation: Generation) -> None:
        """A service that has lost its database gives an id away twice; the tag of another attempt of ours
        shows it. Raises LeftForLater.
        """
        shown = generation.final_tag
        if shown is None or shown == paid.tag:
            return
        owner = await self.world.commits.read(lambda reader: reader.tag_holder(self.world.origin, shown))
        if owner is not None and owner.id != paid.attempt_id:
            raise LeftForLater(
                f"{paid.name}: {paid.remote_id} shows the tag of another task: the service has given this id"
                " away twice, and its video is not taken for this task's; hint: ask the service, then"
                f" `callsheet collect --give-up {paid.name}`",
                ExitCode.PERSON_NEEDED,
            )

    def _may_be_forgotten(self, paid: Paid) -> bool:
        """Whether the service's record has outlived its life, by the slower of its clock and ours.

        A done task loses nothing by it: the ledger says what was fetched.
        """
        passed = self.clock.passed(paid.server_time, paid.accepted_at)
        return paid.is_done or passed.least >= self.world.provider.record_life

    def _judge(self, paid: Paid, error: ProviderError, *, is_last: bool, is_gone: bool) -> None:
        """Returns where another look is due; raises or stops the run where none is."""
        match error.trouble:
            case Trouble.KEY_REFUSED:
                self.control.stop(ExitCode.KEY_REFUSED, f"the service refused the API key: {error.message}")
                raise LeftForLater(error.message, ExitCode.KEY_REFUSED)
            case Trouble.CERTIFICATE:
                self.control.stop(ExitCode.UNREACHABLE, f"cannot trust the API: {error.message}")
                raise LeftForLater(error.message, ExitCode.UNREACHABLE)
            case Trouble.NOT_FOUND if paid.key_hash != self.world.key_hash:
                raise LeftForLater(
                    f"{paid.name}: {paid.remote_id} was submitted under another API key, and this one does"
                    " not see it; hint: run `callsheet collect` with the key used then",
                    ExitCode.PERSON_NEEDED,
                )
            case Trouble.NOT_FOUND if is_gone:
                raise GoneError(f"the service no longer knows {paid.remote_id}")
            case Trouble.USED_UP:
                refusal = OutOfMoneyError.used_up(error.message)
                self.control.refuse(refusal)
                raise LeftForLater(str(refusal), refusal.exit_code)
            case Trouble.RATE_LIMITED:
                raise LeftForLater(
                    f"{paid.name}: {LIMITED_LOOKS} looks were refused in a row: {error.message}"
                )
            case Trouble.WRONG_REQUEST:
                raise LeftForLater(f"{paid.name}: {error.message}")
        if is_last:
            ends = iso_time(paid.accepted_at + self.world.provider.record_life)
            kept = f"; looked for until {ends}" if error.trouble is Trouble.NOT_FOUND else ""
            raise LeftForLater(
                f"{paid.name}: {LOOK_FAILURES} looks failed in a row, last: {error.message}{kept}",
                ExitCode.UNREACHABLE if error.trouble is Trouble.UNREACHABLE else ExitCode.TRY_AGAIN,
            )

    def _note(self, paid: Paid, generation: Generation) -> None:
        said = (generation.raw_status, generation.tag)
        if self._seen.get(paid.attempt_id) == said:
            return
        if generation.status is not None and generation.status.is_terminal:
            self._seen.pop(paid.attempt_id, None)
        else:
            self._seen[paid.attempt_id] = said
        at = self.world.seams.wall()
        self.world.commits.note(lambda ledger: ledger.observe(paid.attempt_id, generation, at))
        name = "task.status" if generation.status is not None else "task.status_unknown"
        self.world.observe(
            name, {"task": paid.name, "identity": paid.identity, "status": generation.raw_status}
        )

    async def _fetch_one(
        self, paid: Paid, generation: Generation, kind: RemoteFileKind, ordinal: int
    ) -> OutputRow:
        retry = Retry(self.world.seams.random, FETCH_TRIES, most=30.0)
        taken = 0
        while True:
            file = file_at(generation, kind, ordinal)
            if file is None:
                raise LeftForLater(f"{paid.name}: the service shows fewer files than before")
            path = output_path(paid.output, kind, ordinal + taken)
            try:
                record = await self._download(paid, file, path, ordinal)
            except DownloadError as error:
                if error.trouble is DownloadTrouble.TARGET_EXISTS and taken < MOST_TAKEN:
                    taken += 1
                    continue
                self._judge_download(paid, error, is_last=retry.failed())
                if error.trouble is not DownloadTrouble.RETRY:
                    generation = await self.refresh(paid)
                await anyio.sleep(retry.pause())
                continue
            media: dict[str, JsonValue] = asdict(record.media)
            return OutputRow(
                path=path,
                identity=paid.identity,
                attempt_id=paid.attempt_id,
                kind=kind,
                ordinal=ordinal,
                bytes=record.bytes,
                sha256=record.sha256,
                media=media,
                created_at=self.world.seams.wall(),
            )

    def _judge_download(self, paid: Paid, error: DownloadError, *, is_last: bool) -> None:
        if error.trouble in (
            DownloadTrouble.DISK_FULL,
            DownloadTrouble.CANNOT_WRITE,
            DownloadTrouble.PATH_TAKEN,
        ):
            reason = f"{paid.name}: {error}; the result is paid for and kept at the service"
            # what stands in one file's place keeps no other from being written
            if error.trouble is not DownloadTrouble.PATH_TAKEN:
                self.control.stop(ExitCode.CANNOT_WRITE, reason)
            raise LeftForLater(reason, ExitCode.CANNOT_WRITE)
        if is_last or error.trouble is DownloadTrouble.TARGET_EXISTS:
            raise LeftForLater(f"{paid.name}: cannot be fetched: {error}")

    async def _download(self, paid: Paid, file: RemoteFile, path: str, ordinal: int) -> FileRecord:
        base = self.world.project.base
        self.world.observe("task.download", {"task": paid.name, "identity": paid.identity, "path": path})
        return await self.world.fetch(
            DownloadRequest(
                url=file.url,
                target=base / path,
                part=part_path(base / output_path(paid.output, file.kind, ordinal), paid.attempt_id),
                kind="video" if file.kind is RemoteFileKind.VIDEO else "last_frame",
                allow_loopback=self.world.is_loopback,
                limits=self.world.limits,
            )
        )
