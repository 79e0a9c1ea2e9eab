"""All cells of a plan to its tasks: each built once, what is wrong with it found, names told apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from runner.errors import JobError, Problem
from runner.job.expressions import NEEDS
from runner.job.lint import OF_MODEL, Linter
from runner.job.model import Job, Reference, Step
from runner.job.paths import OutputTemplate, collision_key, confine
from runner.job.problems import Checked, ProblemError, Problems
from runner.job.rules import Finding, Level
from runner.job.task import TASK_ID, Task, Upstream
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue
from runner.plan.build import TaskBuilder
from runner.plan.locations import request_location
from runner.plan.stages import Chain, Stage, Stages
from runner.providers.provider import Provider

_ENOUGH = JobError.MOST_SHOWN


def build_tasks(
    job: Job, stages: Stages, builders: Mapping[str, TaskBuilder], problems: Problems
) -> tuple[Task, ...]:
    """Every task, depth first: each one, then those that need it. What is wrong goes to `problems`."""
    for builder in builders.values():
        for problem in builder.problems:
            problems.add(problem)
    walk = _Walk(job, stages, builders, problems)
    tasks = [task for stage in stages.roots for task in walk.tasks(stage, None)]
    walk.check_picks()
    walk.look_below_picks()
    if walk.is_whole and problems.is_sound:
        if names := _twice(task.name for task in tasks):
            tasks = [builders[task.step].told_apart(task, names) for task in tasks]
        problems.gather(_check_collisions(job, tasks))
    return tuple(tasks)


class _Walk:
    """Goes depth first over the cells of a plan, builds the task of each, and looks at it."""

    def __init__(
        self, job: Job, stages: Stages, builders: Mapping[str, TaskBuilder], problems: Problems
    ) -> None:
        self._job = job
        self._stages = stages
        self._below = {stage.step.name: stages.below(stage) for stage in stages}
        self._builders = builders
        self._problems = problems
        self._linters = {
            stage.step.name: Linter(job.provider, job.lint, takes=len(stage.step.seeds or ()) or 2)
            for stage in stages
        }
        self._unpicked = {stage.step.name: set(range(len(stage.picks or ()))) for stage in stages}
        self._first: dict[str, Task] = {}
        self._is_over = False
        self._is_one = len(job.steps) == 1 and all(stage.matrix.upper_bound == 1 for stage in stages)
        self._told: set[Problem] = set()
        self._found: set[tuple[Location, str]] = set()
        self._directories: set[str] = set()

    @property
    def is_whole(self) -> bool:
        """Whether every cell has its task."""
        return not self._told

    def tasks(self, stage: Stage, above: Task | None) -> Iterator[Task]:
        """The tasks of `stage` that need `above`, and all below them."""
        below = self._below[stage.step.name]
        for task in self._built(stage, above):
            self._look_at(stage, task)
            yield task
            if below and stage.goes_on(_chain(task)):
                for child in below:
                    yield from self.tasks(child, task)

    def look_below_picks(self) -> None:
        """A step that no task has reached yet is tried below one: its mistakes cost nothing now."""
        for stage in self._stages:
            step = stage.step
            if step.name in self._first or step.needs not in self._first:
                continue
            for task in self._built(stage, self._first[step.needs]):
                self._first.setdefault(step.name, task)
                self._lint(stage, task)
                self._check_children(stage, task)

    def check_picks(self) -> None:
        """An entry that means no task is misspelt, or means one that is no longer made."""
        if self._problems.errors:
            return
        for stage in self._stages:
            if stage.step.name not in self._first:
                continue
            for number in sorted(self._unpicked[stage.step.name]):
                entry = (stage.picks or ())[number]
                hint = "`callsheet plan` lists them; an entry matches the cells that have all of its values"
                self._problems.add(entry.location.error(f"matches no task of step `{stage.step.name}`", hint))

    def _built(self, stage: Stage, above: Task | None) -> Iterator[Task]:
        """The tasks of `stage` that need `above`, except those of cells with which something is wrong."""
        builder = self._builders[stage.step.name]
        upstream = None
        if above is not None:
            upstream = Upstream(above.identity, above.name, above.step, stage.step.uses, _chain(above))
        for index, cell in stage.slots(above):
            if self._is_over:
                return
            try:
                task = builder.build(index, cell, upstream)
            except ProblemError as found:
                self._tell_all(found.problems, builder.name(cell, upstream.cells if upstream else {}))
            else:
                yield task

    def _tell_all(self, found: Iterable[Problem], name: str) -> None:
        """Each problem once, with the first cell that has it."""
        for problem in found:
            if problem not in self._told:
                self._told.add(problem)
                message = problem.message if self._is_one else f"{problem.message} (in cell {name})"
                self._problems.add(replace(problem, message=message))
        self._is_over = self._is_over or len(self._problems.errors) >= _ENOUGH

    def _look_at(self, stage: Stage, task: Task) -> None:
        self._first.setdefault(task.step, task)
        self._lint(stage, task)
        directory = task.output.rpartition("/")[0]
        if directory not in self._directories:
            self._directories.add(directory)
            self._check_directory(stage, task)
        if waiting := self._unpicked[task.step]:
            waiting.difference_update(stage.picks_of(_chain(task)))
        self._check_children(stage, task)

    def _lint(self, stage: Stage, task: Task) -> None:
        for finding, level in self._linters[task.step].look_at(task):
            self._tell(finding, level, stage, task)

    def _tell(self, finding: Finding, level: Level, stage: Stage, task: Task) -> None:
        """A finding at its place, with the first cell that has it unless it is one of the whole model."""
        location = request_location(self._job.provider, stage.step, finding.path, task.cell)
        told = location.error if level is Level.ERROR else location.warning
        words = finding.message
        if (location, words) in self._found:
            return  # of what several steps inherit, the first cell tells
        self._found.add((location, words))
        if not (self._is_one or finding.rule in OF_MODEL):
            words = f"{words} (in cell {task.name})"
        self._problems.add(told(words, finding.hint))
        self._is_over = self._is_over or len(self._problems.errors) >= _ENOUGH

    def _check_children(self, stage: Stage, task: Task) -> None:
        for child in self._below[stage.step.name]:
            self._problems.gather(_check_outputs(self._job.provider, child.step, task))

    def _check_directory(self, stage: Stage, task: Task) -> None:
        try:
            confine(self._job.root, task.output)
        except ValueError as error:
            location = stage.step.output_location
            self._problems.add(location.error(str(error), "outputs stay below the project root"))


def _chain(task: Task) -> Chain:
    return {task.step: task.cell, **(task.upstream.cells if task.upstream is not None else {})}


def _check_outputs(provider: Provider, step: Step, above: Task) -> Checked[None]:
    """Whether the task `above` makes what `step` takes of it."""
    for item in step.content:
        payload = item.payload
        if not isinstance(payload, Reference):
            continue
        name = provider.makes.get(payload.output)
        if name is None or above.request.get(name) is True:
            continue
        what = "is no draft" if payload.output == TASK_ID else "returns no last frame"
        hint = f"steps.{above.step}.request: {{{name}: true}}"
        yield payload.location.error(f"step `{above.step}` {what}", hint)


def _twice(values: Iterable[str]) -> set[str]:
    return {value for value, number in Counter(values).items() if number > 1}


def _check_collisions(job: Job, tasks: Sequence[Task]) -> Checked[None]:
    """No two tasks ask for the same video, and no two write one file."""
    same_identities = _twice(task.identity for task in tasks)
    same_outputs = _twice(collision_key(task.output) for task in tasks)
    if not same_identities and not same_outputs:
        return
    by_identity: dict[str, Task] = {}
    by_output: dict[str, Task] = {}
    shared: dict[str, list[tuple[Task, Task]]] = {}
    twins: dict[Problem, None] = {}
    for task in tasks:
        key = collision_key(task.output)
        if task.identity in same_identities:
            first = by_identity.setdefault(task.identity, task)
            if first is not task:
                twins[_same_identity(job, first, task)] = None
        elif key in same_outputs:
            first = by_output.setdefault(key, task)
            if first is not task:
                shared.setdefault(task.step, []).append((first, task))
        if len(twins) >= _ENOUGH:
            break
    yield from twins
    yield from (_same_output(job, pairs) for pairs in shared.values())


def _values(task: Task) -> dict[str, JsonValue]:
    """What tells the task from others, by the name that an expression has for it."""
    values: dict[str, JsonValue] = dict(task.cell)
    if task.step:
        values["step.name"] = task.step
    for step, cell in task.upstream.cells.items() if task.upstream is not None else ():
        values |= {f"{NEEDS}.{step}.{axis}": value for axis, value in cell.items()}
    return values


def _differing(one: Task, other: Task) -> list[str]:
    first, second = _values(one), _values(other)
    return [name for name in dict.fromkeys((*first, *second)) if first.get(name) != second.get(name)]


def _same_identity(job: Job, first: Task, second: Task) -> Problem:
    names = _differing(first, second)
    step = job.steps[second.step]
    if names and all(name.startswith(f"{NEEDS}.") for name in names):
        message = f"its requests are the same for each task of `{step.needs}`, such as {second.name}"
        return step.location.error(message, f"use an output or an axis of `{NEEDS}.{step.needs}`, or pick")
    locations = {axis.name: axis.location for axis in step.axes}
    location = locations.get(names[0], step.takes_location) if names else step.takes_location
    if first.step != second.step:
        location = step.location
    elif len(names) == 1:
        return location.error(f"axis `{names[0]}` changes nothing", "for several takes use `samples: N`")
    return location.error(
        f"cells {first.index} ({first.name}) and {second.index} ({second.name}) ask for the same video",
        "keep one of them; for several takes use `samples: N`",
    )


def _same_output(job: Job, pairs: Sequence[tuple[Task, Task]]) -> Problem:
    """One problem for all pairs of a step that were looked at: one template mends them."""
    first, second = pairs[0]
    names = dict.fromkeys(name for pair in pairs for name in _differing(*pair))
    step = job.steps[second.step]
    more = f"; more cells that share a file: {len(pairs) - 1}" if len(pairs) > 1 else ""
    return step.output_location.error(
        f"cells {first.index} ({first.name}) and {second.index} ({second.name}) write one file,"
        f" {first.output}{more}",
        f"tell them apart: {_other_template(step.output, [_telling(name, first) for name in names])}",
    )


def _other_template(output: OutputTemplate | None, telling: list[str]) -> str:
    """The template of the file with what it lacks; where it has all that differs, slugs are equal."""
    written = f"out/{'${{ job.name }}'}.mp4" if output is None else output.written
    lacks = [name for name in telling if not re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", written)]
    added = "".join(f"-${{{{ {name} }}}}" for name in lacks or ["index"])
    return f"{written.removesuffix('.mp4')}{added}.mp4"


def _telling(axis: str, task: Task) -> str:
    value = _values(task).get(axis)
    return f"{axis}.id" if isinstance(value, dict) and "id" in value else axis
