"""Which tasks of a plan a person named: by name, by output path, or by identity."""

from __future__ import annotations

import difflib
import fnmatch
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from runner.errors import UsageError
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.plan.words import TaskWords
from runner.record.manifest import ManifestTask

_SHORTEST_IDENTITY = 8
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Named:
    """Tasks as a person typed them: names or paths with `*` and `?`, or an identity's first digits.

    Paths begin at the project's `base` or `here`, the working directory.
    """

    patterns: tuple[str, ...]
    base: str = ""
    here: str = ""

    def choose(self, plan: Plan) -> Only:
        """The tasks of `plan` that are meant. Raises UsageError for a pattern that names none."""
        chosen: set[str] = set()
        for pattern in self.patterns:
            found = self._find(pattern, plan.tasks)
            if not found:
                raise self._names_none(pattern, plan)
            chosen |= found
        return Only(frozenset(chosen))

    def _find(self, pattern: str, tasks: Iterable[Task]) -> set[str]:
        """The names of their cells count where nothing else fits: an older callsheet named tasks so."""
        found: set[str] = set()
        by_cell: set[str] = set()
        words = TaskWords(pattern, self.base, self.here)
        for task in tasks:
            if _is_meant(words, task):
                found.add(task.identity)
            elif not found and fnmatch.fnmatchcase(task.cell_name, pattern):
                by_cell.add(task.identity)
        return found or by_cell

    def _names_none(self, pattern: str, plan: Plan) -> UsageError:
        names = [task.name for task in plan.tasks[:_MOST_NAMES]]
        is_path = "/" in pattern  # or a URL: the name is its last part
        typed = PurePosixPath(pattern).stem if is_path else pattern
        near = difflib.get_close_matches(typed, names, n=3, cutoff=0.5)
        meant = " or ".join(f"`{name}`" for name in near)
        lists = f"`callsheet plan {shlex.quote(plan.job.file)}` lists the tasks"
        hint = f"did you mean {meant}?" if near else lists
        shown = f"`{pattern}`"
        if "://" in pattern:
            shown = f"`{pattern.partition('?')[0]}` (a URL is not the name of a task)"
        return UsageError(f"no task {shown} among the {plan.count} of {plan.job.file}", hint=hint)

    def means(self, task: ManifestTask) -> bool:
        """Whether a task of an old run is meant."""
        return any(_is_meant(TaskWords(pattern, self.base, self.here), task) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Only:
    """The tasks of `--only`, by identity: no other is submitted.

    It limits what one process submits, and nothing else: the run is the whole job's, its manifest
    lists every task, its cap holds over all of them, and the next `run` without it goes on with
    the rest. What is in flight is collected whatever it says, for the URLs of results die.
    """

    identities: frozenset[str]

    def names(self, task: Task) -> bool:
        return task.identity in self.identities


def _is_meant(words: TaskWords, task: Task | ManifestTask) -> bool:
    if len(words.typed) >= _SHORTEST_IDENTITY and task.identity.startswith(words.typed):
        return True
    output = task.output if isinstance(task, Task) else next((file.path for file in task.outputs), "")
    return words.mean(task.name, output)
