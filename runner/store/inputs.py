"""The exact bytes of local inputs, kept under their digest from the first submit on."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from runner.durable import make_directory, replace_file
from runner.errors import ExitCode, NothingSentError, StateError, UsageError
from runner.objects.store import ObjectError, Stores
from runner.providers.base import InputFile
from runner.store.archive import read_all
from runner.store.filed import Filed


class InputNotKeptError(NothingSentError):
    """A local input cannot be copied to where its bytes stay for good."""

    exit_code = ExitCode.CANNOT_WRITE


@dataclass(frozen=True, slots=True)
class InputStore:
    """`directory` is `.callsheet/inputs`, and `stores` lead to files that lie in object storage alone.
    Blocking: for worker threads.
    """

    directory: Path
    stores: Stores = field(default_factory=Stores)

    def read(self, file: InputFile) -> bytes:
        """The bytes behind the digest: the kept copy, else the file itself, or its copy in a store, which is
        then kept.

        Raises NothingSentError where neither has this digest, InputNotKeptError where it cannot be kept.
        """
        kept = self.directory / file.sha256
        for path in (kept, file.path):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == file.sha256:
                if path is not kept:
                    self._keep(kept, content, file)
                return content
        if file.stored:
            content = self._from_store(file)
            self._keep(kept, content, file)
            return content
        raise NothingSentError(
            f"{file.path}: changed or gone since the job was planned, so what needs it was not sent",
            hint="`callsheet run` again: it plans with the file as it is then",
        )

    def _from_store(self, file: InputFile) -> bytes:
        try:
            return read_all(self.stores, file.stored, Filed(file.path.name, file.sha256, file.size))
        except (ObjectError, UsageError) as error:
            raise NothingSentError(
                f"{file.path}: cannot be fetched from its store: {error.message}; nothing was sent",
                hint=error.hint or "`callsheet run` again",
            ) from error

    def _keep(self, target: Path, content: bytes, file: InputFile) -> None:
        # two tasks that share an input may come here at once
        staged = target.with_suffix(f".{secrets.token_hex(8)}.tmp")
        try:
            make_directory(self.directory, 0o700)
            with replace_file(target, staged=staged) as stream:
                stream.write(content)
        except (OSError, StateError) as error:
            why = error.message if isinstance(error, StateError) else f"{self.directory}: {error.strerror}"
            raise InputNotKeptError(
                f"{file.path}: cannot be kept: {why}", hint="make room or fix the permissions, then run again"
            ) from error
