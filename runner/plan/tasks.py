"""Every cell of a plan to its task: built once, checked, and with a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from runner.errors import JobError, Problem
from runner.job.expressions.expressions import TASK_ID
from runner.job.expressions.paths import confine
from runner.job.model import Job, Level, Reference, Step
from runner.job.problems import Checked, ProblemError, Problems
from runner.job.prompts import Place
from runner.job.yaml.nodes import Location
from runner.plan.build import StepBuilder, request_location
from runner.plan.chains import lineage_key
from runner.plan.collisions import check_collisions, repeated
from runner.plan.combinations import Combination, Combined
from runner.plan.cost import Total
from runner.plan.lint import MODEL_NAME, OF_MODEL, PROMPT_PLACEHOLDER, Linter
from runner.plan.matrix import Cell
from runner.plan.names import names_of_outputs
from runner.plan.picks import lineage
from runner.plan.steps import PlannedStep, PlannedSteps
from runner.plan.task import Task, Upstream, cells_of

_ENOUGH = JobError.MOST_SHOWN


@dataclass(frozen=True, slots=True)
class Behind:
    """A step that waits for a pick: what one picked take of the step `above` would add."""

    step: str
    above: str
    each: Total


@dataclass(frozen=True, slots=True)
class BuiltTasks:
    """`behind` are the steps that no task has reached yet."""

    tasks: tuple[Task, ...]
    behind: tuple[Behind, ...]


def build_tasks(
    job: Job, steps: PlannedSteps, builders: Mapping[str, StepBuilder], problems: Problems
) -> BuiltTasks:
    """Every task, depth first: each one, then those that need it. What is wrong goes to `problems`."""
    for builder in builders.values():
        for problem in builder.problems:
            problems.add(problem)
    walk = _Walk(job, steps, builders, problems)
    tasks = list(walk.all_tasks())
    walk.check_picks()
    behind = walk.look_below_picks()
    if walk.is_whole and problems.is_sound:
        tasks = _with_own_names(job, tasks, builders)
        problems.gather(check_collisions(job, tasks))
    known = {task.identity: task for task in tasks}
    return BuiltTasks(tuple(_as_final(task, known, builders) for task in tasks), behind)


def _as_final(task: Task, drafts: Mapping[str, Task], builders: Mapping[str, StepBuilder]) -> Task:
    """`task`, with an estimate by its draft where it is a final."""
    draft = next((drafts.get(each.identity) for each in task.upstreams if TASK_ID in each.uses), None)
    return task if draft is None else builders[task.step].of(task.cell).as_final_of(task, draft)


def _with_own_names(job: Job, tasks: list[Task], builders: Mapping[str, StepBuilder]) -> list[Task]:
    """The tasks, each with a name that no other has."""
    twins, unnamed = repeated(task.cell_name for task in tasks), _unnamed(job)
    if twins or unnamed:
        tasks = [
            builders[task.step].of(task.cell).with_digits(task)
            if task.cell_name in twins or task.step in unnamed
            else task
            for task in tasks
        ]
    written = [task for task in tasks if job.steps[task.step].output is not None]
    others = {task.name for task in tasks if job.steps[task.step].output is None}
    names = dict(
        zip(
            (task.identity for task in written),
            names_of_outputs([task.output for task in written], others),
            strict=True,
        )
    )
    alike = repeated([*names.values(), *others])
    for task in written:
        if names[task.identity] in alike:
            names[task.identity] += f"-{task.identity[:8]}"
    names |= {task.identity: task.name for task in tasks if task.identity not in names}
    return [_renamed(task, names) for task in tasks]


def _renamed(task: Task, names: Mapping[str, str]) -> Task:
    name = names[task.identity]
    upstreams = tuple(
        each if each.name == names[each.identity] else replace(each, name=names[each.identity])
        for each in task.upstreams
    )
    if name == task.name and upstreams == task.upstreams:
        return task
    return replace(task, name=name, upstreams=upstreams)


def _unnamed(job: Job) -> frozenset[str]:
    """The steps whose tasks carry digits of their identity in any case: rows of a file name nothing for good,
    so another row could give them another name.
    """
    unnamed: set[str] = set()
    for name, step in job.steps.items():
        if not unnamed.isdisjoint(step.needs) or not all(axis.is_named for axis in step.axes):
            unnamed.add(name)
    return frozenset(unnamed)


class _Walk:
    """Goes depth first over the cells of a plan, builds the task of each, and checks it.

    It ends early where more problems are found than anybody is shown.
    """

    def __init__(
        self, job: Job, steps: PlannedSteps, builders: Mapping[str, StepBuilder], problems: Problems
    ) -> None:
        self._job = job
        self._steps = steps
        self._below = {step.name: steps.below(step) for step in steps}
        combined = [step for step in steps if step.combined is not None]
        self._needed_later = {name for step in combined for name in step.spec.needs}
        self._made: dict[str, dict[bytes, Task]] = {name: {} for name in self._needed_later}
        self._builders = builders
        self._problems = problems
        self._linters = {
            (step.name, account.name): Linter(
                account,
                job.lint,
                takes=len(step.spec.seeds or ()) or 2,
                variables={name: value.known for name, value in job.variables.items()},
                place=Place(job.root, job.directory),
                sold=job.models_lock.ids(account.provider.name),
                others=job.accounts,
                written=step.spec.request,
                has_uploads=bool(job.project_file.uploads),
            )
            for step in steps
            for account in job.accounts.values()
        }
        self._unpicked = {step.name: set(range(len(step.picks or ()))) for step in steps}
        self._first: dict[str, Task] = {}
        self._is_over = False
        self._is_one = len(job.steps) == 1 and all(step.matrix.upper_bound == 1 for step in steps)
        self._reported: set[Problem] = set()
        self._linted: set[tuple[Location, str]] = set()
        self._directories: set[str] = set()

    @property
    def is_whole(self) -> bool:
        """Whether every cell has its task."""
        return not self._reported

    def all_tasks(self) -> Iterator[Task]:
        """Every task after those that it builds on."""
        for step in self._steps:
            if step.combined is not None or not step.spec.needs:
                yield from self._tasks(step, None)

    def _tasks(self, step: PlannedStep, above: Task | None) -> Iterator[Task]:
        """The tasks of `step` that need `above`, and all below them that need nothing else."""
        below = [child for child in self._below[step.name] if child.combined is None]
        for task in self._built(step, above):
            self._check(step, task)
            yield task
            if step.name in self._needed_later:
                self._made[step.name][lineage_key(lineage(task))] = task
            if below and step.goes_on(lineage(task)):
                for child in below:
                    yield from self._tasks(child, task)

    def check_picks(self) -> None:
        """Reports entries that match no task: they are misspelt, or their task is no longer made."""
        if self._problems.errors:
            return
        for step in self._steps:
            if step.name not in self._first:
                continue
            for number in sorted(self._unpicked[step.name]):
                entry = (step.picks or ())[number]
                hint = "`callsheet plan` lists them; an entry matches the cells that have all of its values"
                self._problems.add(entry.location.error(f"matches no task of step `{step.name}`", hint))

    def look_below_picks(self) -> tuple[Behind, ...]:
        """A step that no task has reached yet is tried below one: its mistakes cost nothing now, and what it
        would cost is known.
        """
        behind: list[Behind] = []
        for step in self._steps:
            needs = step.spec.needs
            if step.name in self._first or not needs or any(name not in self._first for name in needs):
                continue
            above = [self._first[name] for name in needs]
            cells = ((index, cell, above) for index, cell in step.cells_below(above[0]))
            each = Total()
            for task in self._built_one_by_one(step, cells):
                self._first.setdefault(step.name, task)
                self._lint(step, task)
                final = _as_final(task, {one.identity: one for one in above}, self._builders)
                each.add(final.estimate_tokens, final.estimate_micros)
                self._check_children(step, task)
                if step.spec.chain:
                    self._check_next(step, task, above)
            if len(needs) == 1:
                behind.append(Behind(step.name, needs[0], each))
        return tuple(behind)

    def _check_next(self, step: PlannedStep, task: Task, above: Sequence[Task]) -> None:
        """As if `task` were followed by another one in its chain."""
        self._problems.gather(_check_outputs(self._job, step.spec, task))
        after = [(task.index, dict(task.cell), [*above, task])]
        for following in self._built_one_by_one(step, after):
            self._lint(step, following)

    def _built(self, step: PlannedStep, above: Task | None) -> Iterator[Task]:
        """The tasks of `step` that need `above`, without those of cells that have problems."""
        if step.combined is not None:
            return self._combined(step, step.combined)
        needs = [] if above is None else [above]
        return self._built_one_by_one(step, ((index, cell, needs) for index, cell in step.cells_below(above)))

    def _combined(self, step: PlannedStep, combined: Combined) -> Iterator[Task]:
        made: dict[int, Task] = {}

        def upstreams(each: Combination) -> list[Task] | None:
            """None where one of them has problems of its own."""
            found = [
                self._made[name].get(lineage_key(above))
                for name, above in zip(step.spec.needs, each.above, strict=True)
            ]
            if each.previous is not None:
                found.append(made.get(each.previous))
            return None if None in found else [task for task in found if task is not None]

        for each in combined.made:
            above = upstreams(each)
            if above is None:
                continue
            for task in self._built_one_by_one(step, [(each.index, each.cell, above)]):
                if each.previous is not None:
                    self._problems.gather(_check_outputs(self._job, step.spec, above[-1]))
                made[each.index] = task
                yield task

    def _built_one_by_one(
        self, step: PlannedStep, cells: Iterable[tuple[int, Cell, Sequence[Task]]]
    ) -> Iterator[Task]:
        """The task of each (index, cell, tasks that it builds on), without those that have problems."""
        for index, cell, above in cells:
            if self._is_over:
                return
            builder = self._builders[step.name].of(cell)
            upstreams = tuple(
                Upstream(task.identity, task.name, task.step, step.spec.uses(task.step), lineage(task))
                for task in above
            )
            try:
                task = builder.build(index, cell, upstreams)
            except ProblemError as error:
                needs = tuple(each for each in upstreams if each.step != step.name)
                self._report(error.problems, builder.cell_name(cell, cells_of(needs)))
            else:
                yield task

    def _report(self, problems: Iterable[Problem], name: str) -> None:
        """Each problem once, with the first cell that has it."""
        for problem in problems:
            if problem not in self._reported:
                self._reported.add(problem)
                message = problem.message if self._is_one else f"{problem.message} (in cell {name})"
                self._add(replace(problem, message=message))

    def _add(self, problem: Problem) -> None:
        self._problems.add(problem)
        self._is_over = self._is_over or len(self._problems.errors) >= _ENOUGH

    def _check(self, step: PlannedStep, task: Task) -> None:
        self._first.setdefault(task.step, task)
        self._lint(step, task)
        directory = task.output.rpartition("/")[0]
        if directory not in self._directories:
            self._directories.add(directory)
            self._check_directory(step, task)
        if waiting := self._unpicked[task.step]:
            waiting.difference_update(step.picks_of(lineage(task)))
        self._check_children(step, task)

    def _lint(self, step: PlannedStep, task: Task) -> None:
        """Each finding once, with the first cell that has it unless it holds for the whole model."""
        for finding, level in self._linters[task.step, task.account].look_at(task):
            location = request_location(
                self._job.accounts[task.account], step.spec, finding.path, task.cell, left_out=task.left_out
            )
            message = finding.message
            if (location, message) in self._linted:
                continue  # several steps inherit it
            self._linted.add((location, message))
            if not (self._is_one or finding.rule in OF_MODEL):
                message = f"{message} (in cell {task.cell_name})"
            report = location.error if level is Level.ERROR else location.warning
            is_clash = finding.rule in (PROMPT_PLACEHOLDER, MODEL_NAME)
            self._add(replace(report(message, finding.hint), is_clash=is_clash))

    def _check_children(self, step: PlannedStep, task: Task) -> None:
        for child in self._below[step.name]:
            self._problems.gather(_check_outputs(self._job, child.spec, task))

    def _check_directory(self, step: PlannedStep, task: Task) -> None:
        try:
            confine(self._job.root, task.output)
        except ValueError as error:
            location = step.spec.output_location
            self._problems.add(location.error(str(error), "outputs stay below the project root"))


def _check_outputs(job: Job, step: Step, above: Task) -> Checked[None]:
    """Whether the task `above` makes what `step` takes of it."""
    provider = job.accounts[above.account].provider
    for item in step.content:
        payload = item.payload
        if not isinstance(payload, Reference) or payload.step != above.step:
            continue
        name = provider.makes.get(payload.output)
        if name is None or above.request.get(name) is True:
            continue
        what = "is not a draft" if payload.output == TASK_ID else "returns no last frame"
        place = f"steps.{above.step}.request" if above.step else "request"
        who = f"step `{above.step}`" if above.step else "the task before"
        yield payload.location.error(f"{who} {what}", f"{place}: {{{name}: true}}")
