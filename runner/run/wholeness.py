"""Which files of a generation are here, whole, which are missing, and where each belongs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from runner.errors import StateError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow, Published
from runner.providers.base import Generation, RemoteFile, RemoteFileKind
from runner.store.filed import Filed
from runner.store.files import FileStore, digest


def is_untouched(row: Published, base: Path) -> bool:
    """Whether the file was not written since it was published, by its size and time alone."""
    try:
        found = os.stat(f"{base}/{row.path}")  # noqa: PTH116  a Path takes twice as long to make
    except OSError:
        return False
    return found.st_size == row.bytes and found.st_mtime <= row.created_at


def filed(row: OutputRow) -> Filed:
    """The file as the archive takes it."""
    return Filed(row.path, row.sha256, row.bytes)


def here(rows: Iterable[OutputRow], files: FileStore) -> list[OutputRow]:
    """Those of which a file of that size stands here; none is read."""
    found: list[OutputRow] = []
    for row in rows:
        with contextlib.suppress(OSError, StateError):
            file = files.stat(files.root / row.path)
            if file is not None and file.size == row.bytes:
                found.append(row)
    return found


def stands(rows: Sequence[OutputRow], base: Path, reader: LedgerReader) -> bool:
    """Whether something stands at the path of one of them, or its content lies in a store."""
    return any(os.path.lexists(base / row.path) for row in rows) or bool(reader.stored(rows))


def is_whole(row: OutputRow, base: Path) -> bool:
    """Whether the file is what was published; read again only where it was written since."""
    path = base / row.path
    try:
        found = path.stat()
        if found.st_size != row.bytes:
            return False
        if found.st_mtime <= row.created_at:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == row.sha256
    except OSError:
        return False


def whole_files(
    rows: Iterable[OutputRow], files: FileStore, base: Path, stored: Container[str] = ()
) -> list[OutputRow]:
    """The files that stand as they were published, each of which is read, and those whose digest is in
    `stored`.
    """
    return [row for row in rows if row.sha256 in stored or _has_its_bytes(row, files, base / row.path)]


def _has_its_bytes(row: OutputRow, files: FileStore, path: Path) -> bool:
    try:
        found = files.stat(path)
        return found is not None and found.size == row.bytes and digest(files, path).sha256 == row.sha256
    except (OSError, StateError):
        return False


def numbered(generation: Generation) -> list[tuple[RemoteFileKind, int]]:
    """Kind, and number within its kind, of each file: what stays when its URL is renewed."""
    counts: Counter[RemoteFileKind] = Counter()
    found: list[tuple[RemoteFileKind, int]] = []
    for file in generation.files:
        counts[file.kind] += 1
        found.append((file.kind, counts[file.kind]))
    return found


def missing_of(wanted: frozenset[RemoteFileKind], rows: Iterable[OutputRow]) -> frozenset[RemoteFileKind]:
    return wanted - {row.kind for row in rows}


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
