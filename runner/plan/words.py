"""What a person may call a task: its name or the path of its video. Plain strings: no plan and no ledger."""

from __future__ import annotations

import fnmatch
import posixpath
from dataclasses import dataclass

_SUFFIX = ".mp4"


@dataclass(frozen=True, slots=True)
class TaskWords:
    """A name or a path as it was typed, perhaps with `*`, `?` and `[...]`.

    A path may be relative to the project's `base` or to `here`, the working directory, both absolute where
    they are known; with or without .mp4.
    """

    typed: str
    base: str = ""
    here: str = ""

    def mean(self, name: str, output: str) -> bool:
        """Whether the task of this name and this output path is meant."""
        typed, path = self.typed.removesuffix(_SUFFIX), output.removesuffix(_SUFFIX)
        if self.typed == name or _is_alike(typed, name) or _is_path_alike(typed, path):
            return True
        return bool(self.base) and _is_path_alike(self._below_base(typed), path)

    def _below_base(self, typed: str) -> str:
        return posixpath.relpath(posixpath.join(self.here, typed or "."), self.base)

    def may_mean(self, output: str) -> bool:
        """Whether they are the last parts of an output path, joined by `-` or by `/`.

        The name of a task has as many of them as its plan needs, and another plan may need another number.
        """
        parts = output.removesuffix(_SUFFIX).split("/")
        joined = self.typed.removesuffix(_SUFFIX).replace("/", "-")
        return any(joined == "-".join(parts[start:]) for start in range(len(parts)))


def _is_alike(pattern: str, text: str) -> bool:
    return pattern == text or fnmatch.fnmatchcase(text, pattern)


def _is_path_alike(pattern: str, path: str) -> bool:
    """`*` stays within one folder, as in a shell."""
    patterns, parts = pattern.split("/"), path.split("/")
    return len(patterns) == len(parts) and all(map(_is_alike, patterns, parts))
