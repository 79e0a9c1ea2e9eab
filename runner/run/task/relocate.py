"""Files that change their place: an older take gives way and is kept as a version, and a take that is paid
for goes where it is wanted.

Whatever step a kill comes at, each take has its bytes under a name that the ledger knows: a version is linked
and durable before the ledger names it, the ledger names it before its old path is taken, and a version is
never removed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from runner.errors import ExitCode, StateError, UsageError
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow
from runner.media.video import MediaFacts
from runner.objects.store import ObjectError
from runner.plan.task import Task
from runner.providers.base import RemoteFileKind
from runner.run.task.progress import Progress
from runner.run.task.session import Session, Tools
from runner.run.wholeness import filed, is_whole, output_path
from runner.store.archive import bring
from runner.store.files import FileStore, digest, has_copy, place_copy, replace_by
from runner.store.versions import names_of_take, version_of, version_path


async def make_way(tools: Tools, output: str, path: str, identity: str) -> Path | None:
    """Keeps the take of another request that stands at `path`, one of the names of `output`, as a version.

    All its files under these names go together. Gives where that of `path` is kept; None where what stands
    there is not such a take, and not one in flight that was published just before a kill. Raises OSError and
    StateError for what the disk refuses.
    """

    def find(reader: LedgerReader) -> list[OutputRow]:
        owner = reader.owners([path]).get(path)
        if owner is None or owner.identity == identity:
            return []
        return reader.outputs([owner.identity])[owner.identity]

    rows = await tools.commits.read(find)
    kept = await _keep(tools, output, rows, frozenset({path, output}))
    if path not in kept:
        kept = await _keep_known(tools, output, path, identity)
    return tools.project.base / kept[path] if path in kept else None


async def _keep_known(tools: Tools, output: str, path: str, identity: str) -> Mapping[str, str]:
    """The same for a file that a kill has left without a row: its bytes are those of a take that has a name
    elsewhere by now, or it may be that of a task in flight.
    """
    base, files, run = tools.project.base, tools.files, tools.machine.threads.run
    found = await run(digest, files, base / path)
    copies = await tools.commits.read(
        lambda reader: None if reader.owners([path]) else reader.paths_of([found.sha256])
    )
    for copy in (copies or {}).get(found.sha256, ()):
        if await run(has_copy, files, base / path, base / copy):
            return {path: copy}
    is_awaited = await tools.commits.read(lambda reader: reader.is_awaited_at(output, identity))
    return await _keep_stray(tools, output, path) if copies is not None and is_awaited else {}


async def keep_twin(tools: Tools, output: str, path: str, row: OutputRow) -> None:
    """Where the take of another request stands at `path` with the very bytes of `row`, it gets a version all
    the same: or its name would be gone with the row's.
    """
    owner = (await tools.commits.read(lambda reader: reader.owners([path]))).get(path)
    if owner is not None and owner.identity != row.identity and owner.sha256 == row.sha256:
        await make_way(tools, output, path, row.identity)


async def bring_back(tools: Tools, row: OutputRow) -> None:
    """Puts a file that lies in a store back at its path. Raises StateError."""
    stored = await tools.commits.read(lambda reader: reader.stored([row]))
    if row.sha256 not in stored:
        raise StateError(f"{row.path}: is neither here nor in a store")
    try:
        address = stored[row.sha256].address
        await tools.machine.threads.run(bring, tools.stores, address, filed(row), tools.files)
    except (ObjectError, UsageError) as error:
        raise StateError(f"{row.path}: cannot be fetched from its store: {error}") from error


async def keep_stored(tools: Tools, output: str, path: str, row: OutputRow) -> None:
    """Where the take of another request had `path`, lies in a store and has no other name, it becomes a
    version too, by its name in the ledger: or that would be gone with the row's.
    """

    def find(reader: LedgerReader) -> list[OutputRow]:
        owner = reader.owners([path]).get(path)
        if owner is None or owner.identity == row.identity or owner.sha256 == row.sha256:
            return []
        rows = reader.outputs([owner.identity])[owner.identity]
        stored, names = reader.stored(rows), names_of_take(output)
        kept = {each.sha256 for each in rows if not names.fullmatch(each.path)}
        return [each for each in rows if each.sha256 in stored.keys() - kept and names.fullmatch(each.path)]

    rows = await tools.commits.read(find)
    for number in itertools.count(1) if rows else ():
        versions = {each.path: version_path(each.path, number) for each in rows}
        taken = await tools.commits.read(partial(_taken, paths=[*versions.values()]))
        if await tools.machine.threads.run(_are_free, tools, rows, versions, taken):
            kept = [replace(each, path=versions[each.path]) for each in rows]
            await tools.commits.write(lambda ledger, kept=kept: ledger.add_outputs(kept))  # type: ignore[misc]
            for each in rows:
                told = {"identity": each.identity, "path": each.path, "to": versions[each.path]}
                tools.observe("task.versioned", told)
            return


def _are_free(
    tools: Tools,
    rows: Sequence[OutputRow],
    versions: Mapping[str, str],
    taken: Mapping[str, tuple[str, str]],
) -> bool:
    """Whether these versions' names are free, or their own, for files that are not here."""
    base = tools.project.base
    names = ((each, versions[each.path]) for each in rows)
    return all(
        taken.get(name, _digest(each)) == _digest(each) and tools.files.stat(base / name) is None
        for each, name in names
    )


async def put_in_place(session: Session, progress: Progress) -> None:
    """A take that is paid for goes where its task wants it, and is never bought again; what stands there is
    kept as a version where it is a take of another request.
    """
    tools, task = session.tools, progress.task
    async with session.shared.moving:
        placed: dict[str, OutputRow] = {}
        for row in progress.elsewhere:
            path = _place_of(task, row)
            if path in placed:
                continue
            try:
                await _place(tools, progress, row, path)
            except (OSError, StateError) as error:
                _leave(session, task, f"{path}: cannot place {row.path} there: {error}")
                return
            placed[path] = replace(row, path=path, created_at=tools.machine.wall())

        def note(ledger: Ledger) -> None:
            ledger.add_outputs([*placed.values()])
            ledger.claim(task.output, task.identity)

        await tools.commits.write(note)
    tools.observe("task.placed", {"task": task.name, "identity": task.identity, "path": task.output})


def _place_of(task: Task, row: OutputRow) -> str:
    """Where a file of a task belongs: what was a version goes back to its own name."""
    names = names_of_take(task.output)
    if names.fullmatch(row.path):
        return row.path
    version = version_of(row.path)
    if version is not None and names.fullmatch(version[0]):
        return version[0]
    path = PurePosixPath(output_path(task.output, row.kind, row.ordinal))
    is_video = row.kind is RemoteFileKind.VIDEO
    return str(path.with_suffix(PurePosixPath(row.path).suffix) if is_video else path)


async def _place(tools: Tools, progress: Progress, row: OutputRow, path: str) -> None:
    task, base, run = progress.task, tools.project.base, tools.machine.threads.run
    if row.path == path:
        await keep_stored(tools, task.output, path, row)
        return
    source, target = base / row.path, base / path
    if await run(tools.files.stat, source) is None:
        await bring_back(tools, row)
    if await run(tools.files.stat, target) is None:
        await run(place_copy, tools.files, source, target)
        await keep_stored(tools, task.output, path, row)
        return
    if await run(has_copy, tools.files, source, target):
        await keep_twin(tools, task.output, path, row)
        await keep_stored(tools, task.output, path, row)
        return
    kept = await make_way(tools, task.output, path, task.identity)
    if kept is None and progress.is_displaced:
        # published for another request, and killed before the ledger knew; or somebody's own file
        kept = base / (await _keep_stray(tools, task.output, path))[path]
    if kept is None:
        raise FileExistsError(f"{path} is another file")
    await run(partial(replace_by, tools.files, source, target, kept=kept))


async def _keep_stray(tools: Tools, output: str, path: str) -> Mapping[str, str]:
    """Keeps a file of which the ledger knows nothing; whoever it turns out to be of finds it as a version."""
    row = OutputRow(path, "", "", RemoteFileKind.VIDEO, 1, 0, "", MediaFacts(""), 0.0)
    return await _keep(tools, output, [row], frozenset({path}), are_recorded=False)


async def _keep(
    tools: Tools,
    output: str,
    outputs: Sequence[OutputRow],
    stay: frozenset[str],
    *,
    are_recorded: bool = True,
) -> Mapping[str, str]:
    """Gives each file that stands under one of the names of `output` a second name as a version, all with one
    number, durably and in the ledger.

    All but those that `stay` leave their old names then. Gives the new paths by the old ones.
    """
    base, files, run = tools.project.base, tools.files, tools.machine.threads.run
    names = names_of_take(output)
    named = [row for row in outputs if names.fullmatch(row.path)]
    rows = await run(lambda: [row for row in named if files.stat(base / row.path) is not None])
    for number in itertools.count(1):
        versions = {row.path: version_path(row.path, number) for row in rows}
        taken = await tools.commits.read(partial(_taken, paths=[*versions.values()]))
        if await run(_link_all, files, base, versions, rows, taken):
            break
    if are_recorded:
        kept = [replace(row, path=versions[row.path]) for row in await run(_telling, rows, outputs, base)]
        news = [row for row in kept if taken.get(row.path) != _digest(row)]
        await tools.commits.write(lambda ledger: ledger.add_outputs(news))
    for row in rows:
        if row.path not in stay:
            await run(_remove_kept, files, base / row.path, base / versions[row.path])
        whose = {"identity": row.identity} if row.identity else {}
        tools.observe("task.versioned", whose | {"path": row.path, "to": versions[row.path]})
    return versions


def _telling(rows: Sequence[OutputRow], outputs: Sequence[OutputRow], base: Path) -> list[OutputRow]:
    """Those of `rows` that are whole, and those changed since that have no whole copy among `outputs`."""
    whole = {_file(row) for row in outputs if is_whole(row, base)}
    return [row for row in rows if _file(row) not in whole or is_whole(row, base)]


def _file(row: OutputRow) -> tuple[str, RemoteFileKind, int]:
    return row.attempt_id, row.kind, row.ordinal


def _digest(row: OutputRow) -> tuple[str, str]:
    return row.identity, row.sha256


def _taken(reader: LedgerReader, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Whose file, and which, each of these paths has or is meant for."""
    meant = {path: (identity, "") for path, identity in reader.claims(paths).items()}
    return meant | {path: _digest(row) for path, row in reader.owners(paths).items()}


def _link_all(
    files: FileStore,
    base: Path,
    versions: Mapping[str, str],
    rows: Sequence[OutputRow],
    taken: Mapping[str, tuple[str, str]],
) -> bool:
    """False where one of the versions' names is not free; a foreign file, for example, stands there."""
    if not all(_is_free(files, base, row, versions[row.path], taken) for row in rows):
        return False
    for old, new in versions.items():
        try:
            if not has_copy(files, base / old, base / new):
                place_copy(files, base / old, base / new)
            files.sync_file(base / new)
            files.sync_dir(base / new)
        except FileExistsError:
            return False
    return True


def _remove_kept(files: FileStore, path: Path, kept: Path) -> None:
    """Unless somebody has put another file there meanwhile."""
    if has_copy(files, path, kept):
        files.remove(path)


def _is_free(
    files: FileStore, base: Path, row: OutputRow, version: str, taken: Mapping[str, tuple[str, str]]
) -> bool:
    try:
        if taken.get(version, _digest(row)) != _digest(row):
            return False
        # there already: an earlier try was killed, or the take was this version before
        return files.stat(base / version) is None or has_copy(files, base / row.path, base / version)
    except (OSError, StateError):
        return False


def _leave(session: Session, task: Task, reason: str) -> None:
    session.control.condition(ExitCode.CANNOT_WRITE, reason)
    session.control.left(task.name, reason, task.identity)
