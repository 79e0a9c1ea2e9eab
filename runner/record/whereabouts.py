"""Where the files of a manifest are by now: an edit keeps a take as a version of its path."""

from __future__ import annotations

import contextlib
import glob
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import StateError
from runner.ledger.open import has_ledger, open_reader
from runner.ledger.read import LedgerReader
from runner.project import Project
from runner.record.manifest import ManifestFile
from runner.store.versions import version_of, version_path

_ANY = 999_999_999
"""Stands for the number of a version in a pattern of names."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Finds files below `base`: by their path in the ledger, where there is one, then among their siblings,
    by digest.
    """

    base: Path
    ledger: LedgerReader | None = None

    def paths(self, digests: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Where the ledger has the bytes of each digest, the newest first."""
        return self.ledger.paths_of([*digests]) if self.ledger is not None else {}

    def elsewhere(self, file: ManifestFile) -> tuple[str, ...]:
        """The other paths at which the ledger has a file with these bytes."""
        return tuple(path for path in self.paths([file.sha256]).get(file.sha256, ()) if path != file.path)

    def stored(self, files: Sequence[ManifestFile]) -> dict[str, str]:
        """By digest, the address of each file's copy in object storage: by the ledger, or by the manifest
        where there is no ledger.
        """
        if self.ledger is None:
            return {file.sha256: file.stored for file in files if file.stored}
        return {sha256: row.address for sha256, row in self.ledger.stored(files).items()}

    def now(self, file: ManifestFile) -> ManifestFile | None:
        """The file with its path of today; None where its path is another file's, and it is nowhere."""
        owner = self.ledger.owners([file.path]).get(file.path) if self.ledger is not None else None
        is_own = owner is None or owner.sha256 == file.sha256
        if is_own and self._fits(file.path, file):
            return file
        for path in self.elsewhere(file):
            if self._fits(path, file):
                return replace(file, path=path)
        for path in siblings(self.base, file.path):
            if self._fits(path, file) and _sha256(self.base / path) == file.sha256:
                return replace(file, path=path)
        return file if is_own else None

    def _fits(self, path: str, file: ManifestFile) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return (self.base / path).stat().st_size == file.bytes
        return False


@contextlib.contextmanager
def whereabouts(project: Project) -> Iterator[Whereabouts]:
    """Without a ledger that can be read, its siblings alone tell where a file is."""
    with contextlib.ExitStack() as stack:
        ledger = None
        if has_ledger(project):
            with contextlib.suppress(StateError):
                ledger = open_reader(project)
                stack.callback(ledger.close)
        yield Whereabouts(project.base, ledger)


def siblings(base: Path, path: str) -> Iterator[str]:
    """The other names below `base` that a file at `path` may have: `out/s1.v1.mp4` for `out/s1.mp4`."""
    version = version_of(path)
    first = version[0] if version is not None else path
    file = base / first
    with contextlib.suppress(OSError, ValueError):
        if not file.resolve().is_relative_to(base.resolve()):
            return
        pattern = glob.escape(version_path(file.name, _ANY)).replace(f".v{_ANY}", ".v[0-9]*")
        names = [file.name, *sorted(found.name for found in file.parent.glob(pattern))]
        for name in names:
            other = first.removesuffix(file.name) + name
            if other != path and (other == first or version_of(other) is not None):
                yield other


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
