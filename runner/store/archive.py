"""Files of this disk and their copies in object storage: put there, brought back, and let go here.

Blocking functions of plain values, which can run in another process. Whether a file lies in a store is the
ledger's word, and never asked file by file; what is asked here is about files that are on their way.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import StateError
from runner.http.route import find_route
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectError, ObjectStore, ObjectTrouble, Stores
from runner.store.filed import Filed
from runner.store.files import FileStore, LocalFiles, digest, publish


def put(store: ObjectStore, files: FileStore, filed: Filed) -> None:
    """Puts a file into the store, unless its content is there. Raises ObjectError: `CHANGED` for a file that
    is not as it was published.
    """
    with _told(filed):
        if files.stat(files.root / filed.path) is None:
            raise ObjectError(ObjectTrouble.CHANGED, f"{filed.path}: is not here")
        store.create(
            filed.key,
            lambda: files.open(files.root / filed.path),
            sha256=filed.sha256,
            size=filed.bytes,
        )


@dataclass(frozen=True, slots=True)
class Putting:
    """From where to where: `base` is what paths are relative to, `store` an address as callsheet.yaml has it.

    `trust_env`: through the proxy of the environment of whoever puts.
    """

    base: str
    store: str
    trust_env: bool


def put_elsewhere(putting: Putting, filed: Filed) -> ObjectError | None:
    """The same by a worker, with the credentials of its own environment; what went wrong is its result."""
    try:
        put(_opened(putting.store, putting.trust_env), LocalFiles(Path(putting.base)), filed)
    except ObjectError as error:
        return error
    return None


@functools.cache
def _opened(address: str, trust_env: bool) -> ObjectStore:
    return ObjectStore.open(ObjectAddress.parse(address), find_route(os.environ, trust_env=trust_env))


def read_all(stores: Stores, address: str, filed: Filed) -> bytes:
    """The content of the object at `address`, checked. Raises ObjectError and UsageError."""
    return b"".join(_checked(stores, address, filed))


def bring(stores: Stores, address: str, filed: Filed, files: FileStore) -> None:
    """Puts a copy of the object at `address` at the file's path, whole or not at all; nothing is overwritten.

    Raises ObjectError and UsageError, and StateError for what the disk refuses.
    """
    target = files.root / filed.path
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.fetched")
    try:
        out = files.open_part(part, keep=0)
        try:
            for chunk in _checked(stores, address, filed):
                out.write(chunk)
        finally:
            out.close()
        publish(files, part, target)
    except FileExistsError as error:
        raise StateError(
            f"{filed.path}: another file is there", hint="move it away, then try again"
        ) from error
    except OSError as error:
        hint = "free some space, then fetch it again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StateError(f"{filed.path}: cannot write: {error.strerror}", hint=hint) from error
    finally:
        with contextlib.suppress(OSError, StateError):
            files.remove(part)


def let_go(stores: Stores, address: str, filed: Filed, files: FileStore) -> bool:
    """Removes the copy here of a file that the ledger knows to lie in the store; whether one was removed.

    It stays where it is not as it was published, and where the object does not have its content now: the row
    may be that of a listing. Raises ObjectError and UsageError, and StateError for what the disk refuses.
    """
    path, at = files.root / filed.path, ObjectAddress.parse(address)
    try:
        found = files.stat(path)
        if found is None or found.size != filed.bytes:
            return False
        if digest(files, path).sha256 != filed.sha256:
            return False
        why = stores.of(at).lacks(at.key, lambda: files.open(path), sha256=filed.sha256, size=filed.bytes)
        if why:
            raise ObjectError(
                ObjectTrouble.OTHER_CONTENT,
                f"{at}: is not there as the ledger says, so {filed.path} stays: {why}",
                hint="once no other object is there, callsheet archive --check",
            )
        files.remove(path)
        files.sync_dir(path)
    except OSError as error:
        raise StateError(f"{filed.path}: cannot be removed: {error.strerror}") from error
    return True


def is_as_archived(stores: Stores, address: str, filed: Filed) -> bool:
    """Whether the object at `address` has the content that was archived; it is read. Raises ObjectError and
    UsageError.
    """
    try:
        for _ in _checked(stores, address, filed):
            pass
    except ObjectError as error:
        if error.trouble is ObjectTrouble.OTHER_CONTENT:
            return False
        raise
    return True


def _checked(stores: Stores, address: str, filed: Filed) -> Iterator[bytes]:
    """The content of an object; raises at its end where it is another."""
    content, size, at = hashlib.sha256(), 0, ObjectAddress.parse(address)
    for chunk in stores.of(at).read(at.key):
        size += len(chunk)
        if size > filed.bytes:
            break
        content.update(chunk)
        yield chunk
    if size != filed.bytes or content.hexdigest() != filed.sha256:
        raise ObjectError(
            ObjectTrouble.OTHER_CONTENT,
            f"{at}: its content is not what was archived",
            hint="callsheet verify --store",
        )


@contextlib.contextmanager
def _told(filed: Filed) -> Iterator[None]:
    try:
        yield
    except (OSError, StateError) as error:
        raise ObjectError(ObjectTrouble.CHANGED, f"{filed.path}: cannot read: {error}") from error
