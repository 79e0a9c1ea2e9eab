"""Which tasks of a plan a person named: by patterns of names, or by identity."""

from __future__ import annotations

import difflib
import fnmatch
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from runner.errors import UsageError
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.record.manifest import ManifestTask

_SHORTEST_IDENTITY = 8
_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Only:
    """The tasks of `--only`: no other is submitted.

    It limits what one process submits, and nothing else: the run is the whole job's, its manifest
    lists every task, its cap holds over all of them, and the next `run` without it goes on with
    the rest. What is in flight is collected whatever it says, for the URLs of results die.
    """

    patterns: tuple[str, ...]

    def names(self, task: Task | ManifestTask) -> bool:
        return any(matches(pattern, task) for pattern in self.patterns)


def matches(pattern: str, task: Task | ManifestTask) -> bool:
    """Whether `pattern` is the task's name, with `*`, `?` and `[...]`, or its identity's first digits."""
    is_identity = len(pattern) >= _SHORTEST_IDENTITY and task.identity.startswith(pattern)
    return is_identity or fnmatch.fnmatchcase(task.name, pattern)


def check_patterns(patterns: tuple[str, ...], plan: Plan) -> int:
    """How many tasks of `plan` are named. Raises UsageError for a pattern that names none."""
    missing = set(patterns)
    names: list[str] = []
    found = 0
    for task in plan.tasks:
        named = {pattern for pattern in patterns if matches(pattern, task)}
        missing -= named
        found += bool(named)
        if len(names) < _MOST_NAMES:
            names.append(task.name)
    for pattern in sorted(missing):
        # a path or a URL of a video has the name in its last part
        near = difflib.get_close_matches(
            PurePosixPath(pattern).stem if "/" in pattern else pattern, names, n=3, cutoff=0.5
        )
        meant = " or ".join(f"`{name}`" for name in near)
        lists = f"`callsheet plan {shlex.quote(plan.job.file)}` lists the tasks"
        hint = f"did you mean {meant}?" if near else lists
        kind = ": it is a path or a URL, not a task's name" if "/" in pattern else ""
        raise UsageError(f"no task `{pattern}` among the {plan.count} of {plan.job.file}{kind}", hint=hint)
    return found
