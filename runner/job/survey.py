"""One pass over all cells of a plan: what is wrong with them, and which of them are one."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from itertools import pairwise

from runner.errors import JobError, Problem
from runner.job.build import CellError, TaskBuilder
from runner.job.matrix import MODEL, SEED, Cell, Matrix
from runner.job.model import Job
from runner.job.models import find_family
from runner.job.naming import cell_name
from runner.job.node import JsonValue
from runner.job.paths import collision_key, confine
from runner.job.task import Task
from runner.job.values import Problems

_ENOUGH = JobError.MOST_SHOWN
_MOST_COMPARED = 10_000
"""Tasks kept at most while the words for collisions are found."""


@dataclass(frozen=True, slots=True)
class Survey:
    """`same_*` are hashes that occur twice, and so, but for chance, values that do."""

    count: int
    same_identities: frozenset[int]
    same_outputs: frozenset[int]
    same_names: frozenset[int]


def survey_cells(job: Job, matrix: Matrix, builder: TaskBuilder, problems: Problems) -> Survey:
    """One pass over all cells. It keeps 24 bytes of each, so 100,000 tasks cost 2.4 MB."""
    identities, outputs, names = array("q"), array("q"), array("q")
    seed_rule = _SeedRule(job, problems)
    count = 0
    told: set[Problem] = set()
    directories: set[str] = set()
    for problem in builder.problems:
        problems.add(problem)
    for count, cell in enumerate(matrix.cells(), start=1):
        seed_rule.look_at(cell)
        try:
            task = builder.build(count - 1, cell)
        except CellError as found:
            for problem in found.problems:
                if problem not in told:
                    told.add(problem)
                    problems.add(_in_cell(problem, cell, job) if matrix.upper_bound > 1 else problem)
            if len(problems.errors) >= _ENOUGH:
                break
            continue
        seed_rule.look_at_task(task)
        identities.append(hash(task.identity))
        outputs.append(hash(collision_key(task.output)))
        names.append(hash(task.name))
        directory = task.output.rpartition("/")[0]
        if directory not in directories:
            directories.add(directory)
            _check_directory(job, task, problems)
    return Survey(count, _twice(identities), _twice(outputs), _twice(names))


def _in_cell(problem: Problem, cell: Cell, job: Job) -> Problem:
    """The problem with the first cell that has it."""
    name = cell_name(cell, job=job.name, with_model=len(job.models) > 1)
    return replace(problem, message=f"{problem.message} (in cell {name})")


def _twice(hashes: array[int]) -> frozenset[int]:
    ordered = sorted(hashes)
    return frozenset(one for one, other in pairwise(ordered) if one == other)


def _check_directory(job: Job, task: Task, problems: Problems) -> None:
    try:
        confine(job.root, task.output)
    except ValueError as error:
        place = job.step.output.place if job.step.output else job.step.takes_place
        problems.add(place.error(str(error), "outputs stay below the project root"))


class _SeedRule:
    """Two seeds on a model that ignores them buy unrelated videos; one is only worth a warning."""

    def __init__(self, job: Job, problems: Problems) -> None:
        self._job = job
        self._problems = problems
        self._seeds: dict[str, JsonValue] = {}
        self._models: set[str] = set()
        self._places = dict(reversed(job.step.models))

    def look_at(self, cell: Cell) -> None:
        model = str(cell[MODEL])
        if model not in self._models:
            self._models.add(model)
            self._note_unknown(model)
        seed = cell.get(SEED)
        family = find_family(model)
        if seed is None or family is None or family.honours_seed:
            return
        if self._seeds.setdefault(model, seed) != seed:
            count = len(self._job.step.seeds or ()) or 2
            self._problems.add(
                self._job.step.takes_place.error(
                    f"{model} ignores `seed`: each further seed pays for an unrelated video",
                    f"samples: {count}",
                )
            )

    def look_at_task(self, task: Task) -> None:
        family = find_family(task.model)
        if task.seed is not None and family is not None and not family.honours_seed:
            value = self._job.step.request.get(SEED)
            place = value.place if value is not None else self._job.step.takes_place
            self._problems.add(place.warning(f"{task.model} ignores `seed`"))

    def _note_unknown(self, model: str) -> None:
        if find_family(model) is None:
            place = self._places.get(model, self._job.step.takes_place)
            self._problems.add(
                place.warning(f"{model}: nothing is known of this model, so nothing is checked against it")
            )


def report_collisions(
    job: Job, matrix: Matrix, builder: TaskBuilder, survey: Survey, problems: Problems
) -> None:
    """Goes over the cells again, for the words; only where hashes met."""
    if problems.errors or not (survey.same_identities or survey.same_outputs):
        return
    by_identity: dict[str, Task] = {}
    by_output: dict[str, Task] = {}
    for index, cell in enumerate(matrix.cells()):
        task = builder.build(index, cell)
        key = collision_key(task.output)
        if hash(task.identity) in survey.same_identities:
            first = by_identity.setdefault(task.identity, task)
            if first is not task:
                _add_same_identity(job, first, task, problems)
        elif hash(key) in survey.same_outputs:
            first = by_output.setdefault(key, task)
            if first is not task:
                _add_same_output(job, first, task, problems)
        if len(problems.errors) >= _ENOUGH or len(by_identity) + len(by_output) >= _MOST_COMPARED:
            return


def _differing(one: Task, other: Task) -> list[str]:
    names = dict.fromkeys((*one.cell, *other.cell))
    return [name for name in names if one.cell.get(name) != other.cell.get(name)]


def _add_same_identity(job: Job, first: Task, second: Task, problems: Problems) -> None:
    names = _differing(first, second)
    places = {axis.name: axis.place for axis in job.step.axes}
    if len(names) == 1:
        place = places.get(names[0], job.step.takes_place)
        problems.add(place.error(f"axis `{names[0]}` changes nothing", "for several takes use `samples: N`"))
        return
    place = places.get(names[0], job.step.takes_place) if names else job.step.takes_place
    problems.add(
        place.error(
            f"cells {first.index} ({first.name}) and {second.index} ({second.name}) ask for the same video",
            "keep one of them; for several takes use `samples: N`",
        )
    )


def _add_same_output(job: Job, first: Task, second: Task, problems: Problems) -> None:
    names = _differing(first, second)
    place = job.step.output.place if job.step.output else job.step.takes_place
    parts = "-".join(f"${{{{ {_telling(name, first)} }}}}" for name in names) or "${{ index }}"
    problems.add(
        place.error(
            f"cells {first.index} ({first.name}) and {second.index} ({second.name}) write one file,"
            f" {first.output}",
            f"tell them apart: out/{parts}.mp4",
        )
    )


def _telling(axis: str, task: Task) -> str:
    value = task.cell.get(axis)
    return f"{axis}.id" if isinstance(value, dict) and "id" in value else axis
