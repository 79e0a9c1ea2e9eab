"""`events.jsonl`: what happened in a run, one JSON object a line (docs/reference/events.md)."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias, cast

from runner.errors import StateError
from runner.json_value import JsonValue
from runner.redact import Redactor, json_safe
from runner.times import iso_time

if TYPE_CHECKING:
    import structlog

Observer: TypeAlias = Callable[[str, Mapping[str, object]], None]
"""Is told of each event: a short dotted name, and its fields."""


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Own:
    """A value of ours, such as a request: written as it is, without its secrets, as in the manifest."""

    value: object


def fan_out(*observers: Observer) -> Observer:
    """One observer that tells several, in this order."""

    def tell(name: str, fields: Mapping[str, object]) -> None:
        for observer in observers:
            observer(name, fields)

    return tell


def redacted(observer: Observer, redactor: Redactor) -> Observer:
    """The same for a screen: texts without the keys that are here."""

    def clean(value: object) -> object:
        if isinstance(value, str):
            return redactor.text(value)
        if isinstance(value, Own):
            return Own(redactor.value(value.value))
        return redactor.value(value) if isinstance(value, Mapping | list | tuple) else value

    def tell(name: str, fields: Mapping[str, object]) -> None:
        observer(name, {key: clean(value) for key, value in fields.items()})

    return tell


class EventFile:
    """An observer that appends to a file (0600), one write per event.

    It never raises once it is open: a full disk loses lines, never a run. `lost` counts them,
    `tell` gets one sentence at the first, and the log itself says `log.lost` when it works again.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall: Callable[[], float],
        redactor: Redactor,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`wall` gives Unix seconds. Raises StateError where `path` is a link or cannot be opened."""
        self.lost = 0
        self._path = path
        self._wall = wall
        self._redactor = redactor
        self._tell = tell
        self._untold = 0
        self._file = _LineFile(path)

    def __call__(self, name: str, fields: Mapping[str, object]) -> None:
        try:
            self._write(name, fields)
            if self._untold:
                self._write("log.lost", {"lines": self._untold})
                self._untold = 0
        except Exception as error:  # whatever a field or the disk does, the run goes on
            self.lost += 1
            self._untold += 1
            if self.lost == 1 and self._tell is not None:
                self._tell(f"{self._path}: events are being lost: {self._redactor.foreign_text(str(error))}")

    def close(self) -> None:
        self._file.close()

    def _write(self, name: str, fields: Mapping[str, object]) -> None:
        self._file.write(_encode(self._compose(None, "", {"event": name, "fields": fields})) + "\n")

    def _compose(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, JsonValue]:
        clean = self._redactor
        line: dict[str, JsonValue] = {
            "at": iso_time(self._wall()),
            "event": clean.foreign_text(event["event"]),
        }
        for key, value in event["fields"].items():
            told = clean.value(value.value) if isinstance(value, Own) else clean.foreign_value(value)
            line.setdefault(clean.foreign_text(key), told)
        return line


class EventLog(EventFile):
    """The same through structlog, for a run that works.

    structlog takes 0.1 s to import, for it loads rich and asyncio: a session that has nothing to do writes
    its three lines by `EventFile` alone.
    """

    @functools.cached_property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        # imported here: see above
        import structlog

        logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            structlog.WriteLogger(cast(TextIO, self._file)),
            processors=[self._compose, structlog.processors.JSONRenderer(_encode)],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
            cache_logger_on_first_use=True,
        )
        return logger

    def _write(self, name: str, fields: Mapping[str, object]) -> None:
        self._log.info(name, fields=fields)


def _encode(line: Mapping[str, JsonValue], **_: object) -> str:
    return json_safe(_ENCODER.encode(line))


class _LineFile:
    """Appends whole lines; a line that a full disk or a kill has cut is ended before the next."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise StateError(
                f"{path}: cannot write the log: {error.strerror}",
                hint="it must be a plain file of this user; remove a link that stands in its place",
            ) from error
        os.fchmod(self._descriptor, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._is_torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def write(self, line: str) -> None:
        """`line` ends with its newline, and goes out in one call."""
        data = (b"\n" if self._is_torn else b"") + line.encode()
        written = os.write(self._descriptor, data)
        self._is_torn = written < len(data)
        if self._is_torn:
            raise OSError("the disk is full")

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        os.close(self._descriptor)
