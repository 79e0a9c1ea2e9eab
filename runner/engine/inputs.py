"""The exact bytes of local inputs, kept under their digest from the first submit on."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from runner.durable import replacing
from runner.errors import CallsheetError, ExitCode
from runner.job.task import InputFile


class InputChangedError(CallsheetError):
    """A local input is not what was planned with; nothing was sent for it."""

    exit_code = ExitCode.INPUT_MISSING


@dataclass(frozen=True, slots=True)
class InputStore:
    """`directory` is `.callsheet/inputs`. Blocking: for worker threads."""

    directory: Path

    def read(self, file: InputFile) -> bytes:
        """The bytes behind the digest: the kept copy, else the file itself, which is then kept.

        Raises InputChangedError where neither has this digest, OSError where it cannot be kept.
        """
        kept = self.directory / file.sha256
        for path in (kept, file.path):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == file.sha256:
                if path is not kept:
                    self._keep(kept, content)
                return content
        raise InputChangedError(
            f"{file.path}: changed or gone since the job was planned, so what needs it was not sent",
            hint="`callsheet run` again: it plans with the file as it is then",
        )

    def _keep(self, target: Path, content: bytes) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        # two tasks that share an input may come here at once
        staged = target.with_suffix(f".{secrets.token_hex(8)}.tmp")
        with replacing(target, staged) as stream:
            stream.write(content)
