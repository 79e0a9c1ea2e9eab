"""The `.part` file of one download, and the note beside it that lets another process go on.

The note holds the server's validator, the whole length, and size and sha256 of what was written
when it was taken. Going on trusts only bytes that still have that sha256, so a lost write, a torn
note or a foreign file start the download over and can do no more.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.store.files import FileStore, PartFile
from runner.typed_json import read

_NOTE_EVERY = 16 << 20
_MOST_NOTE_BYTES = 4096
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Note:
    etag: str
    length: int
    size: int
    sha256: str


class Part:
    """Blocking: every method but `begin` belongs in a worker thread and raises OSError or UnsafePathError.

    `size` bytes are written, of `length` (None: the server did not say); `etag` is a strong validator,
    or empty.
    """

    def __init__(self, files: FileStore, path: Path) -> None:
        self.path = path
        self.size = 0
        self.length: int | None = None
        self.etag = ""
        self._files = files
        self._note_path = path.with_name(path.name + ".json")
        self._sha256 = hashlib.sha256()
        self._noted = 0
        self._file: PartFile | None = None
        self._has_note = False

    @property
    def sha256(self) -> str:
        """64 hex digits over the `size` bytes."""
        return self._sha256.hexdigest()

    @property
    def can_resume(self) -> bool:
        return self.size > 0 and self.length is not None and bool(self.etag)

    @property
    def is_complete(self) -> bool:
        return self.size > 0 and self.size == self.length

    def load(self) -> None:
        """Takes up what an earlier attempt left; leaves the part empty where that proves nothing."""
        note = self._read_note()
        found = self._files.stat(self.path)
        if note is None or found is None or not 0 < note.size <= min(found.size, note.length):
            return
        # a publish was killed between its two names: the finished file is no file to write to
        if found.links > 1 and note.size < note.length:
            return
        sha256 = hashlib.sha256()
        missing = note.size
        with self._files.open(self.path) as file:
            while missing and (block := file.read(min(_BLOCK, missing))):
                sha256.update(block)
                missing -= len(block)
        if missing or sha256.hexdigest() != note.sha256:
            return
        self.size = self._noted = note.size
        self.length, self.etag, self._sha256 = note.length, note.etag, sha256

    def begin(self, *, etag: str, length: int | None) -> None:
        """From here on the part is for a file with this validator and length, and empty."""
        self.size = self._noted = 0
        self.etag, self.length, self._sha256 = etag, length, hashlib.sha256()

    def open(self) -> None:
        """For writing behind the `size` bytes."""
        if not self.size:
            self.forget()
        self._file = self._files.open_part(self.path, keep=self.size)

    def write(self, data: memoryview) -> None:
        """Appends to the file that `open` has opened."""
        assert self._file is not None
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
        if self.size - self._noted >= _NOTE_EVERY:
            self.take_note()

    def take_note(self) -> None:
        """Records how far the part can be trusted, where the server lets a download go on at all."""
        is_of_use = self.can_resume or self.is_complete
        if not is_of_use or self.length is None or self.size == self._noted:
            return
        note = _Note(self.etag, self.length, self.size, self.sha256)
        self._has_note = True
        file = self._files.open_part(self._note_path, keep=0)
        try:
            file.write(json.dumps(asdict(note)).encode())
        finally:
            file.close()
        self._noted = self.size

    def forget(self) -> None:
        """Removes the note: the next attempt starts over."""
        if self._has_note:
            self._files.remove(self._note_path)
            self._has_note = False

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read_note(self) -> _Note | None:
        found = self._files.stat(self._note_path)
        self._has_note = found is not None
        if found is None or found.size > _MOST_NOTE_BYTES:
            return None
        with self._files.open(self._note_path) as file:
            text = file.read(_MOST_NOTE_BYTES)
        try:
            return read(_Note, json.loads(text))
        except (ValueError, RecursionError):
            return None
