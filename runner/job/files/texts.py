"""The texts that a job file names with `from`: plain UTF-8, each read once."""

from __future__ import annotations

import codecs
import shlex
from dataclasses import dataclass, replace

from runner.job.files.sources import SourceError, Sources
from runner.job.problems import ProblemError
from runner.job.yaml.nodes import Location
from runner.job.yaml.source import API_KEY, UNPRINTABLE, location_at

MOST_IN_ALL = 32 * 1024 * 1024
"""Bytes of all files of one job."""

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class TextFile:
    """`name` is its path below the root, `written` as the job file has it; `text` has `\\n` line ends and no
    byte order mark.
    """

    name: str
    written: str
    text: str

    def at(self, line: int, column: int) -> Location:
        return Location(line, column, file=self.name)


class TextFiles:
    """Reads each text file of one job once."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._files: dict[str, TextFile] = {}
        self._bytes = 0

    def read(self, written: str) -> TextFile:
        """The file that the job file calls `written`. Raises SourceError, or ProblemError for what is wrong
        inside it.
        """
        name, content = self._sources.read(written)
        if name not in self._files:
            self._bytes += len(content)
            if self._bytes > MOST_IN_ALL:
                raise SourceError(
                    f"more than {MOST_IN_ALL // 2**20} MiB of texts in all", "split the job file"
                )
            self._files[name] = TextFile(name, written, _decode(content, name))
        return self._files[name]


def _decode(content: bytes, name: str) -> str:
    """Raises ProblemError for what is not plain text, at its place."""
    if content.startswith(_MARKS):
        raise ProblemError(_at(name, "", 0).error("this file is UTF-16", _how_to_convert(name, "UTF-16")))
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        location = _at(name, before, len(before))
        raise ProblemError(location.error("not UTF-8 text", _how_to_convert(name, "WINDOWS-1252"))) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if key := API_KEY.search(text):
        message = "this looks like an API key, and this file is copied into every run"
        hint = "put the key into the environment or .env, and revoke it if the file was ever shared"
        raise ProblemError(_at(name, text, key.start()).error(message, hint))
    if bad := UNPRINTABLE.search(text):
        message = f"invisible character U+{ord(bad[0]):04X}"
        raise ProblemError(_at(name, text, bad.start()).error(message, "delete it"))
    return text


def _at(name: str, text: str, index: int) -> Location:
    return replace(location_at(text, index), file=name)


def _how_to_convert(name: str, encoding: str) -> str:
    file, new = shlex.quote(name), shlex.quote(f"{name}.new")
    return f'save it as "CSV UTF-8", or: iconv -f {encoding} -t UTF-8 {file} > {new} && mv {new} {file}'
