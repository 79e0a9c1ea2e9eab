"""What a generation should bring, what of it is here, and where each file belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.errors import StateError
from runner.lane.world import Paid, World
from runner.ledger.rows import OutputRow
from runner.providers.base import Generation, RemoteFile, RemoteFileKind
from runner.store.files import FileStore, digest


@dataclass(frozen=True, slots=True)
class Home:
    """What is here of a generation, and the kinds of files that were asked for and never came."""

    rows: tuple[OutputRow, ...]
    missing: frozenset[RemoteFileKind]


async def asked_for(world: World, paid: Paid) -> frozenset[RemoteFileKind]:
    """The kinds of files that the request of an attempt asks for."""
    requests = await world.commits.read(lambda reader: reader.requests([paid.identity]))
    return world.provider.wanted(requests.get(paid.identity, {}))


async def standing_here(world: World, paid: Paid) -> list[OutputRow]:
    """The files of an attempt that stand as they were published."""
    rows = await world.commits.read(lambda reader: reader.outputs([paid.identity]))
    own = [row for row in rows.get(paid.identity, []) if row.attempt_id == paid.attempt_id]
    if not own:
        return []
    base = world.project.base
    return await world.seams.threads.run(
        lambda: [row for row in own if _is_whole(world.files, base / row.path, row)]
    )


def _is_whole(files: FileStore, path: Path, row: OutputRow) -> bool:
    try:
        found = files.stat(path)
        return found is not None and found.size == row.bytes and digest(files, path).sha256 == row.sha256
    except (OSError, StateError):
        return False


def places(generation: Generation) -> list[tuple[RemoteFileKind, int]]:
    """Kind, and number within its kind, of each file: what stays when its URL is renewed."""
    counts: Counter[RemoteFileKind] = Counter()
    places: list[tuple[RemoteFileKind, int]] = []
    for file in generation.files:
        counts[file.kind] += 1
        places.append((file.kind, counts[file.kind]))
    return places


def missing_of(wanted: frozenset[RemoteFileKind], rows: Iterable[OutputRow]) -> frozenset[RemoteFileKind]:
    return wanted - {RemoteFileKind(row.kind) for row in rows}


def words_of(kinds: frozenset[RemoteFileKind]) -> str:
    return " and ".join(f"its {kind.replace('_', ' ')}" for kind in sorted(kinds))


def file_at(generation: Generation, kind: RemoteFileKind, ordinal: int) -> RemoteFile | None:
    found = [file for file in generation.files if file.kind is kind]
    return found[ordinal - 1] if ordinal <= len(found) else None


def output_path(output: str, kind: RemoteFileKind, ordinal: int) -> str:
    """`out/a.mp4` -> `out/a.mp4`, `out/a-2.mp4`; the last frame `out/a.last.png`, `out/a-2.last.png`."""
    stem = output.removesuffix(".mp4")
    if ordinal > 1:
        stem = f"{stem}-{ordinal}"
    return f"{stem}.last.png" if kind is RemoteFileKind.LAST_FRAME else f"{stem}.mp4"


def part_path(target: Path, attempt_id: str) -> Path:
    """Where a download grows: beside its target, one for each attempt and file."""
    return target.with_name(f".{target.name}.{attempt_id[:8]}.part")
