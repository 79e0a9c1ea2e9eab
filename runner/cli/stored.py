"""How `verify` asks a store about copies: it reads each, or lists them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from runner.errors import StateError
from runner.http.route import Route
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectError, ObjectTrouble, Stores
from runner.record.verify import CheckedFile, FileToCheck, Finding
from runner.store.archive import is_as_archived
from runner.store.filed import Filed

_AT_ONCE = 8

Ask = Callable[[str, FileToCheck], tuple[Finding, str]]
"""How the object at an address stands against the record of its file, and more about it in words. Raises
StateError where the store cannot be asked.
"""


def check_stored(files: Iterable[FileToCheck], ask: Ask) -> Iterator[CheckedFile]:
    """The copies of these files in their stores, one for each that has one; several are asked at once."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(
            lambda file: CheckedFile(file.task, file.stored, *ask(file.stored, file)),
            (file for file in files if file.stored),
        )


@dataclass(slots=True)
class StoreReader:
    """Reads each object, in the thread that asks."""

    route: Route
    _stores: Stores = field(init=False)

    def __post_init__(self) -> None:
        self._stores = Stores(self.route)

    def ask(self, address: str, file: FileToCheck) -> tuple[Finding, str]:
        """Raises StateError where the store cannot be read at all."""
        try:
            is_same = is_as_archived(self._stores, address, Filed(file.path, file.sha256, file.bytes))
        except ObjectError as error:
            return _missing(error)
        return (Finding.SAME, "") if is_same else (Finding.CHANGED, "other bytes than were archived")


@dataclass(slots=True)
class StoreLister:
    """Lists each store once, when the first object of it is asked for."""

    route: Route
    _sizes: dict[ObjectAddress, dict[str, int]] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, address: str, file: FileToCheck) -> tuple[Finding, str]:
        """Raises StateError where the store cannot be listed."""
        at = ObjectAddress.parse(address)
        folder = ObjectAddress(at.scheme, at.bucket, at.key.rpartition("/")[0])
        with self._turn:
            if folder not in self._sizes:
                try:
                    self._sizes[folder] = dict(Stores(self.route).of(at).list(folder.key))
                except ObjectError as error:
                    return _missing(error)
        size = self._sizes[folder].get(at.key)
        if size is None:
            return Finding.MISSING, ""
        if size != file.bytes:
            return Finding.CHANGED, f"{size:,} bytes, was {file.bytes:,}"
        return Finding.LISTED, "there, with its size; not read"


def _missing(error: ObjectError) -> tuple[Finding, str]:
    if error.trouble is ObjectTrouble.MISSING:
        return Finding.MISSING, ""
    raise StateError(error.message, hint=error.hint) from error
