"""One pass over all cells of a plan: what is wrong with them, and which of them are one."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from runner.errors import JobError, Problem
from runner.job.build import CellError
from runner.job.cost import Total
from runner.job.expressions import NEEDS
from runner.job.lint import OF_MODEL, Linter
from runner.job.marks import Marks
from runner.job.matrix import Cell
from runner.job.model import Job, Reference, Step
from runner.job.node import JsonValue
from runner.job.paths import OutputTemplate, collision_key, confine
from runner.job.places import request_place
from runner.job.rules import Finding, Level
from runner.job.stages import Stage, Stages
from runner.job.task import LAST_FRAME, TASK_ID, Task
from runner.job.values import Place, Problems

MOST_TASKS = 1_000_000
"""Of one plan: nobody means to pay for more, and `seeds: 0..4294967295` would never end."""
_ENOUGH = JobError.MOST_SHOWN
_MOST_COMPARED = 10_000
"""Tasks kept at most while the words for collisions are found."""


@dataclass(frozen=True, slots=True)
class Survey:
    """`same_*` are hashes that occur twice, and so, but for chance, values that do.

    `is_whole` where every cell has its task. `marks` is None where a step needs another one.
    """

    is_whole: bool
    count: int
    cost: Total
    same_identities: frozenset[int]
    same_outputs: frozenset[int]
    same_names: frozenset[int]
    marks: Marks | None


def survey_cells(job: Job, stages: Stages, problems: Problems) -> Survey:
    """One pass over all cells. It keeps 56 bytes of each, so 100,000 tasks cost 5.6 MB."""
    for stage in stages:
        for problem in stage.builder.problems:
            problems.add(problem)
    walk = _Walk(job, stages, problems)
    for stage in stages.roots:
        walk.visit(stage, None)
    walk.check_picks()
    walk.look_below_picks()
    return walk.survey()


class _Walk:
    """Goes depth first over the tasks of a plan and looks at each."""

    def __init__(self, job: Job, stages: Stages, problems: Problems) -> None:
        self._job = job
        self._stages = stages
        self._problems = problems
        self._identities, self._outputs, self._names = array("q"), array("q"), array("q")
        self._digests = bytearray()
        self._cost = Total()
        self._linters = {
            stage.step.name: Linter(job.lint, takes=len(stage.step.seeds or ()) or 2) for stage in stages
        }
        self._unpicked = {stage.step.name: set(range(len(stage.picks or ()))) for stage in stages}
        self._first: dict[str, Task] = {}
        self._count = 0
        self._is_over = False
        self._is_one = len(job.steps) == 1 and all(stage.matrix.upper_bound == 1 for stage in stages)
        self._told: set[Problem] = set()
        self._found: set[tuple[Place, str]] = set()
        self._directories: set[str] = set()

    def visit(self, stage: Stage, above: Task | None) -> None:
        """The tasks of `stage` that need `above`, and all below them."""
        below = self._stages.below(stage)
        for index, cell in stage.slots(above):
            if self._is_over:
                return
            self._count += 1
            if self._count > MOST_TASKS:
                self._stop_at_most(stage)
            task = self._build(stage, index, cell, above)
            if task is None:
                continue
            self._look_at(stage, task)
            if below and stage.goes_on(task):
                for child in below:
                    self.visit(child, task)

    def look_below_picks(self) -> None:
        """A step that no task has reached yet is tried below one: its mistakes cost nothing now."""
        for stage in self._stages:
            step = stage.step
            if step.name in self._first or step.needs not in self._first:
                continue
            for index, cell in stage.slots(self._first[step.needs]):
                if self._is_over:
                    return
                task = self._build(stage, index, cell, self._first[step.needs])
                if task is not None:
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
                self._problems.add(entry.place.error(f"matches no task of step `{stage.step.name}`", hint))

    def survey(self) -> Survey:
        identities, outputs, names = map(_twice, (self._identities, self._outputs, self._names))
        is_flat = not any(stage.step.needs for stage in self._stages)
        marks = Marks(bytes(self._digests), self._outputs) if is_flat else None
        return Survey(not self._told, self._count, self._cost, identities, outputs, names, marks)

    def _stop_at_most(self, stage: Stage) -> None:
        place = stage.step.takes_place
        self._problems.add(place.error(f"a plan has at most {MOST_TASKS:,} tasks", "split the job file"))
        self._is_over = True

    def _build(self, stage: Stage, index: int, cell: Cell, above: Task | None) -> Task | None:
        try:
            return stage.builder.build(index, cell, above)
        except CellError as found:
            for problem in found.problems:
                if problem not in self._told:
                    self._told.add(problem)
                    self._problems.add(problem if self._is_one else _in_cell(problem, stage, cell, above))
            self._is_over = self._is_over or len(self._problems.errors) >= _ENOUGH
            return None

    def _look_at(self, stage: Stage, task: Task) -> None:
        self._first.setdefault(task.step, task)
        self._cost.add(task.estimate_tokens, task.estimate_micros)
        self._lint(stage, task)
        self._digests += bytes.fromhex(task.identity)
        self._identities.append(hash(task.identity))
        self._outputs.append(hash(collision_key(task.output)))
        self._names.append(hash(task.name))
        directory = task.output.rpartition("/")[0]
        if directory not in self._directories:
            self._directories.add(directory)
            self._check_directory(stage, task)
        if waiting := self._unpicked[task.step]:
            waiting.difference_update(stage.picks_of(task))
        self._check_children(stage, task)

    def _lint(self, stage: Stage, task: Task) -> None:
        for finding, level in self._linters[task.step].look_at(task):
            self._tell(finding, level, stage, task)

    def _tell(self, finding: Finding, level: Level, stage: Stage, task: Task) -> None:
        """A finding at its place, with the first cell that has it unless it is one of the whole model."""
        place = request_place(stage.step, finding.path, task.cell)
        told = place.error if level is Level.ERROR else place.warning
        words = finding.message
        if (place, words) in self._found:
            return  # of what several steps inherit, the first cell tells
        self._found.add((place, words))
        if not (self._is_one or finding.rule in OF_MODEL):
            words = f"{words} (in cell {task.name})"
        self._problems.add(told(words, finding.hint))
        self._is_over = self._is_over or len(self._problems.errors) >= _ENOUGH

    def _check_children(self, stage: Stage, task: Task) -> None:
        for child in self._stages.below(stage):
            _check_outputs(child.step, task, self._problems)

    def _check_directory(self, stage: Stage, task: Task) -> None:
        try:
            confine(self._job.root, task.output)
        except ValueError as error:
            place = stage.step.output_place
            self._problems.add(place.error(str(error), "outputs stay below the project root"))


_MADE_BY = {LAST_FRAME: "return_last_frame", TASK_ID: "draft"}
"""The request field without which a task has the output."""


def _check_outputs(step: Step, above: Task, problems: Problems) -> None:
    """Whether the task `above` makes what `step` takes of it."""
    for item in step.content:
        payload = item.payload
        name = _MADE_BY.get(payload.output) if isinstance(payload, Reference) else None
        if name is None or above.request.get(name) is True:
            continue
        what = "is no draft" if name == "draft" else "returns no last frame"
        hint = f"steps.{above.step}.request: {{{name}: true}}"
        problems.add(payload.place.error(f"step `{above.step}` {what}", hint))


def _in_cell(problem: Problem, stage: Stage, cell: Cell, above: Task | None) -> Problem:
    """The problem with the first cell that has it."""
    return replace(problem, message=f"{problem.message} (in cell {stage.builder.name(cell, above)})")


def _twice(hashes: array[int]) -> frozenset[int]:
    ordered = sorted(hashes)
    return frozenset(one for one, other in pairwise(ordered) if one == other)


def report_collisions(job: Job, stages: Stages, survey: Survey, problems: Problems) -> None:
    """Goes over the cells again, for the words; only where hashes met."""
    if not (survey.is_whole and problems.is_sound) or not (survey.same_identities or survey.same_outputs):
        return
    by_identity: dict[str, Task] = {}
    by_output: dict[str, Task] = {}
    shared: dict[str, list[tuple[Task, Task]]] = {}
    for task in stages.tasks():
        key = collision_key(task.output)
        if hash(task.identity) in survey.same_identities:
            first = by_identity.setdefault(task.identity, task)
            if first is not task:
                _add_same_identity(job, first, task, problems)
        elif hash(key) in survey.same_outputs:
            first = by_output.setdefault(key, task)
            if first is not task:
                shared.setdefault(task.step, []).append((first, task))
        kept = len(by_identity) + len(by_output) + sum(map(len, shared.values()))
        if len(problems.errors) >= _ENOUGH or kept >= _MOST_COMPARED:
            break
    for pairs in shared.values():
        _add_same_output(job, pairs, problems)


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


def _add_same_identity(job: Job, first: Task, second: Task, problems: Problems) -> None:
    names = _differing(first, second)
    step = job.steps[second.step]
    if names and all(name.startswith(f"{NEEDS}.") for name in names):
        message = f"its requests are the same for each task of `{step.needs}`, such as {second.name}"
        problems.add(
            step.place.error(message, f"use an output or an axis of `{NEEDS}.{step.needs}`, or pick")
        )
        return
    places = {axis.name: axis.place for axis in step.axes}
    place = places.get(names[0], step.takes_place) if names else step.takes_place
    if first.step != second.step:
        place = step.place
    elif len(names) == 1:
        problems.add(place.error(f"axis `{names[0]}` changes nothing", "for several takes use `samples: N`"))
        return
    problems.add(
        place.error(
            f"cells {first.index} ({first.name}) and {second.index} ({second.name}) ask for the same video",
            "keep one of them; for several takes use `samples: N`",
        )
    )


def _add_same_output(job: Job, pairs: Sequence[tuple[Task, Task]], problems: Problems) -> None:
    """One problem for all pairs of a step that were looked at: one template mends them."""
    first, second = pairs[0]
    names = dict.fromkeys(name for pair in pairs for name in _differing(*pair))
    step = job.steps[second.step]
    more = f"; more cells that share a file: {len(pairs) - 1}" if len(pairs) > 1 else ""
    problems.add(
        step.output_place.error(
            f"cells {first.index} ({first.name}) and {second.index} ({second.name}) write one file,"
            f" {first.output}{more}",
            f"tell them apart: {_other_template(step.output, [_telling(name, first) for name in names])}",
        )
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
