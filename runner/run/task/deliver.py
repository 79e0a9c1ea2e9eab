"""From a succeeded generation to verified files: fetched by deadline, published, recorded one by one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import anyio

from runner.errors import ExitCode, StateError
from runner.http.access import origin_of
from runner.lane.pace import Retry
from runner.lane.paid import Paid
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow
from runner.providers.base import Generation, RemoteFileKind
from runner.run.task.relocate import keep_stored, keep_twin, make_way
from runner.run.task.session import Session
from runner.run.task.wait import look_after_call
from runner.run.task.watch import GoneError, LeftForLater, Watch
from runner.run.wholeness import (
    file_at,
    missing_of,
    numbered,
    output_path,
    part_path,
    whole_files,
    words_of,
)
from runner.store.download import DownloadError, DownloadRequest, DownloadTrouble, FileRecord, OwnOrigin
from runner.store.versions import version_of, version_path

FETCH_TRIES = 6

MOST_TAKEN = 100
"""Names that other files have, of a video and those that it could have instead."""

MOST_FILES = 32
"""Files of one generation that are fetched; an answer of 1 MiB could name 20,000."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The files of a generation that are here, and the kinds that were asked for and never came."""

    rows: tuple[OutputRow, ...]
    missing: frozenset[RemoteFileKind]


@dataclass(slots=True)
class Delivery:
    watch: Watch

    @property
    def session(self) -> Session:
        return self.watch.session

    @property
    def paid(self) -> Paid:
        return self.watch.paid

    async def deliver(self, generation: Generation) -> Delivered:
        """Fetches what is not here yet of a succeeded generation, and waits for what was asked for and
        is not shown yet, for as long as a result's URL lives.

        Each file is in the ledger as soon as it stands. Raises LeftForLater, and GoneError where not
        even the video is here.
        """
        wanted = await self._asked_for()
        here = {(row.kind, row.ordinal): row for row in await self._whole()}
        since = anyio.current_time()
        while True:
            try:
                await self._fetch_new(generation, wanted, here)
                missing = missing_of(wanted, here.values())
                if not missing or self._is_past_life():
                    return Delivered(tuple(here.values()), missing)
                generation = await self._look_for_rest(missing, since)
            except GoneError:
                missing = missing_of(wanted, here.values())
                if RemoteFileKind.VIDEO in missing:
                    raise
                return Delivered(tuple(here.values()), missing)

    async def missing(self) -> frozenset[RemoteFileKind]:
        """The kinds of files that were asked for and do not stand here, whole."""
        return missing_of(await self._asked_for(), await self._whole())

    async def _asked_for(self) -> frozenset[RemoteFileKind]:
        identity = self.paid.identity
        requests = await self.session.tools.commits.read(lambda reader: reader.requests([identity]))
        return self.session.lane.provider.wanted(requests.get(identity, {}))

    async def _whole(self) -> list[OutputRow]:
        """The files of the attempt that stand as they were published, or lie in a store."""
        tools, paid = self.session.tools, self.paid
        rows = await tools.commits.read(lambda reader: reader.outputs([paid.identity]))
        own = [row for row in rows.get(paid.identity, []) if row.attempt_id == paid.attempt_id]
        if not own:
            return []
        stored = await tools.commits.read(lambda reader: reader.stored(own))
        return await tools.machine.threads.run(whole_files, own, tools.files, tools.project.base, stored)

    async def _fetch_new(
        self,
        generation: Generation,
        wanted: frozenset[RemoteFileKind],
        here: dict[tuple[RemoteFileKind, int], OutputRow],
    ) -> None:
        """Fetches each file that is shown and not here, and records it; nearest deadline first."""
        tools, paid = self.session.tools, self.paid
        deadline = min((file.expires_at or math.inf for file in generation.files), default=math.inf)
        async with self.session.work.downloads.slot(deadline):
            for kind, ordinal in numbered(generation)[:MOST_FILES]:
                if (kind, ordinal) in here:
                    continue
                try:
                    row = await self._fetch_one(generation, kind, ordinal)
                except (GoneError, LeftForLater) as trouble:
                    if kind in wanted:
                        raise
                    # nobody asked for it, so nothing waits for it
                    reason = f"{paid.name}: a {kind} that was not asked for: {trouble}"
                    tools.observe("task.left", {"task": paid.name, "reason": reason})
                    continue
                await tools.commits.write(lambda ledger, row=row: ledger.add_outputs([row]))  # type: ignore[misc]
                here[kind, ordinal] = row
                if tools.archive is not None:
                    tools.archive.add(row, tools.observe)
                tools.observe(
                    "task.file",
                    {
                        **paid.words,
                        "path": row.path,
                        "bytes": row.bytes,
                        "kind": kind,
                        "ordinal": ordinal,
                        "sha256": row.sha256,
                    },
                )

    async def _look_for_rest(self, missing: frozenset[RemoteFileKind], since: float) -> Generation:
        """Another look at a generation that showed less than was asked for, paced as all looks are."""
        policy = self.session.policy
        remaining = policy.timeout - self.watch.age
        if remaining <= 0:
            raise LeftForLater(
                f"{self.paid.name}: {words_of(missing)} is still to come after run.timeout; what came is"
                " here, and the next run looks again"
            )
        await anyio.sleep(min(look_after_call(policy.poll, anyio.current_time() - since), remaining))
        return await self.watch.look()

    def _is_past_life(self) -> bool:
        """Whether a result's URL has lived its time since the acceptance, by the slower of two clocks."""
        by_theirs = self.session.lane.clock.earliest() - self.paid.server_time
        return min(self.watch.age, by_theirs) > self.session.lane.provider.url_life

    async def _fetch_one(self, generation: Generation, kind: RemoteFileKind, ordinal: int) -> OutputRow:
        paid, tools, base = self.paid, self.session.tools, self.session.tools.project.base
        retry, taken = Retry(tools.machine.random, FETCH_TRIES, most=30.0), 0
        refused: str | None = None
        version = await self._version()
        while True:
            file = file_at(generation, kind, ordinal)
            if file is None:
                raise LeftForLater(f"{paid.name}: the service shows fewer files than before")
            if version:
                path = version_path(output_path(paid.output, kind, ordinal), version + taken)
            else:
                path = output_path(paid.output, kind, ordinal + taken)
            tools.observe("task.download", {"task": paid.name, "identity": paid.identity, "path": path})
            request = DownloadRequest(
                url=file.url,
                target=base / path,
                part=part_path(base / output_path(paid.output, kind, ordinal), paid.attempt_id),
                kind=kind,
                allow_loopback=self.session.lane.is_loopback,
                limits=tools.limits,
                own=self._own_origin(),
            )
            try:
                try:
                    record = await tools.fetch(request)
                except DownloadError as error:
                    if error.trouble is not DownloadTrouble.TARGET_EXISTS or taken == MOST_TAKEN:
                        raise
                    if not version and not taken and (version := await self._version()):
                        continue
                    stands = (error.target or request.target).relative_to(base).as_posix()
                    replaced = None if version or taken else await self._replace(request, stands)
                    if replaced is None:
                        taken += 1
                        continue
                    record = replaced
            except DownloadError as error:
                # an error page may pass; the same bytes under a fresh URL are what the service has
                came_again = error.sha256 is not None and error.sha256 == refused
                refused = error.sha256
                self._judge(error, is_last=retry.failed() or came_again)
                if error.trouble is not DownloadTrouble.RETRY:
                    generation = await self.watch.refresh()
                await anyio.sleep(retry.pause())
                continue
            path = record.path.relative_to(base).as_posix()
            row = OutputRow(
                path=path,
                identity=paid.identity,
                attempt_id=paid.attempt_id,
                kind=kind,
                ordinal=ordinal,
                bytes=record.bytes,
                sha256=record.sha256,
                media=record.media,
                created_at=tools.machine.wall(),
            )
            if not version and not taken:
                async with self.session.shared.moving:
                    await keep_twin(tools, paid.output, path, row)
                    await keep_stored(tools, paid.output, path, row)
            return row

    def _own_origin(self) -> OwnOrigin | None:
        """Where the key goes for a file; None where results lie open, or under signed URLs."""
        lane = self.session.lane
        access = lane.client.paid.access
        is_keyed = lane.provider.keyed_files
        return OwnOrigin(origin_of(access.origin), access.authorization()) if is_keyed else None

    async def _version(self) -> int:
        """0 where the path is for this task; where an edit has given it to another one, the number of the
        version that this take becomes.
        """
        paid = self.paid

        def find(reader: LedgerReader) -> int:
            if reader.claims([paid.output]).get(paid.output, paid.identity) == paid.identity:
                return 0
            names = {output_path(paid.output, kind, 1) for kind in RemoteFileKind}
            own = (
                version_of(row.path)
                for row in reader.outputs([paid.identity]).get(paid.identity, [])
                if row.attempt_id == paid.attempt_id
            )
            number = next((version[1] for version in own if version and version[0] in names), 0)
            return number or next(
                number
                for number in itertools.count(1)
                if not reader.owners([version_path(name, number) for name in names])
            )

        return await self.session.tools.commits.read(find)

    async def _replace(self, request: DownloadRequest, path: str) -> FileRecord | None:
        """Publishes over the take of another request, which is kept as a version; None where what stands
        there is none.
        """
        tools, paid = self.session.tools, self.paid
        async with self.session.shared.moving:
            if await self._version():
                return None
            try:
                kept = await make_way(tools, paid.output, path, paid.identity)
            except (OSError, StateError) as error:
                raise LeftForLater(
                    f"{paid.name}: what stands at {path} cannot be kept as a version: {error}; the result is"
                    " paid for and kept at the service",
                    ExitCode.CANNOT_WRITE,
                ) from error
            return None if kept is None else await tools.fetch(replace(request, kept=kept))

    def _judge(self, error: DownloadError, *, is_last: bool) -> None:
        """Returns where another try is due; raises or stops the run where none is."""
        name = self.paid.name
        if error.trouble in (
            DownloadTrouble.DISK_FULL,
            DownloadTrouble.CANNOT_WRITE,
            DownloadTrouble.PATH_TAKEN,
        ):
            reason = f"{name}: {error}; the result is paid for and kept at the service"
            # what stands in one file's place keeps no other from being written
            if error.trouble is not DownloadTrouble.PATH_TAKEN:
                self.session.control.stop(ExitCode.CANNOT_WRITE, reason)
            raise LeftForLater(reason, ExitCode.CANNOT_WRITE)
        if is_last or error.trouble in (DownloadTrouble.TARGET_EXISTS, DownloadTrouble.UNPROVEN):
            raise LeftForLater(f"{name}: cannot be fetched: {error}")
