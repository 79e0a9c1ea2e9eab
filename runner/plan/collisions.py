"""Tasks of one plan that ask for the same video, and tasks that write the same file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.errors import JobError, Problem
from runner.job.expressions.expressions import NEEDS
from runner.job.expressions.paths import OutputTemplate, collision_key
from runner.job.model import MODEL, SEED, Job, Step
from runner.job.problems import Checked
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue, canonical_json
from runner.plan.picks import flow_yaml
from runner.plan.task import Task


def repeated(values: Iterable[str]) -> set[str]:
    return {value for value, number in Counter(values).items() if number > 1}


def check_collisions(job: Job, tasks: Sequence[Task]) -> Checked[None]:
    """No two tasks ask for the same video, and no two write the same file."""
    same_identities = repeated(task.identity for task in tasks)
    same_outputs = repeated(collision_key(task.output) for task in tasks)
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
        if len(twins) >= JobError.MOST_SHOWN:
            break
    for problem in (*twins, *(_same_output(job, pairs) for pairs in shared.values())):
        yield replace(problem, is_clash=True)


def _values(task: Task) -> dict[str, JsonValue]:
    """The values that tell the task from others, by their names in expressions."""
    values: dict[str, JsonValue] = dict(task.cell)
    if task.step:
        values["step.name"] = task.step
    for step, cell in task.cells_above.items():
        values |= {f"{NEEDS}.{step}.{axis}": value for axis, value in cell.items()}
    return values


def _differing(one: Task, other: Task) -> list[str]:
    first, second = _values(one), _values(other)
    return [name for name in dict.fromkeys((*first, *second)) if first.get(name) != second.get(name)]


def _same_identity(job: Job, first: Task, second: Task) -> Problem:
    names = _differing(first, second)
    step = job.steps[second.step]
    if names and all(name.startswith(f"{NEEDS}.") for name in names):
        told = {name.split(".")[1] for name in names}
        needed = next((name for name in step.needs if name in told), step.needs[0])
        message = f"its requests are the same for each task of `{needed}`, such as {second.cell_name}"
        return step.location.error(message, f"use an output or an axis of `{NEEDS}.{needed}`, or pick")
    if names == [MODEL]:
        return _same_model(step, first, second)
    locations = {axis.name: axis.location for axis in step.axes}
    location = locations.get(names[0], step.takes_location) if names else step.takes_location
    if first.step != second.step:
        location = step.location
    elif len(names) == 1 and names[0] in second.unsaid:
        return _same_without(job, names[0], first, second, location)
    elif len(names) == 1:
        return _same_rows(step, names[0], first, second) or location.error(
            f"axis `{names[0]}` changes nothing", "for several takes use `samples: N`"
        )
    return location.error(
        f"{_cells(first, second)} ask for the same video",
        "keep one of them; for several takes use `samples: N`",
    )


def _same_model(step: Step, first: Task, second: Task) -> Problem:
    """The problem at the second of two models that are one: the same id at one origin, whoever pays."""
    choice = step.choice(second.model_name)
    location = step.takes_location if choice is None else choice.location
    one, other = (f"`{task.model_name}` at {task.account}" for task in (first, second))
    why = "" if first.account == second.account else f": both accounts are at {second.origin}"
    return location.error(
        f"{one} and {other} ask for the same video{why}",
        "delete one of the two; for several takes use `samples: 2`",
    )


def _same_without(job: Job, axis: str, first: Task, second: Task, location: Location) -> Problem:
    """The problem of two cells that differ in what their model has no field for."""
    who = second.account
    if job.accounts[who].provider.own_name(axis):
        who = f"{second.model_name} at {who}"
    message = f"{who} has no `{axis}`, so {_cells(first, second)} ask there for the same video"
    if axis == SEED:
        seeds = job.steps[second.step].seeds
        return location.error(message, f"in place of `seeds`: `samples: {len(seeds or ()) or 2}`")
    left = {MODEL: second.model_name, axis: second.cell.get(axis)}
    return location.error(message, f"exclude: [{flow_yaml(left)}]")


def _same_rows(step: Step, axis: str, first: Task, second: Task) -> Problem | None:
    """The problem at the second of two values of `axis` that make one request; None where none uses it."""
    payloads = (value for item in step.content for value in (item.payload, item.role))
    asked = [*step.fields, *(value for value in payloads if isinstance(value, Value))]
    if not any(axis in value.names for value in asked):
        return None
    values = next((spec.values for spec in step.axes if spec.name == axis), ())
    rows = {
        canonical_json(value.content.value): value.location
        for value in values
        if isinstance(value.content, Constant)
    }
    one, other = (rows.get(canonical_json(task.cell[axis])) for task in (first, second))
    if one is None or other is None:
        return None
    return other.error(
        f"this value of `{axis}` makes the same request as the one in line {one.line}"
        f" (cells {first.cell_name} and {second.cell_name})",
        "change its prompt, or what else the request uses; or delete one, and for takes use `samples: 2`",
    )


def _same_output(job: Job, pairs: Sequence[tuple[Task, Task]]) -> Problem:
    """One problem for all pairs of a step that were looked at: one template mends them."""
    first, second = pairs[0]
    names = dict.fromkeys(name for pair in pairs for name in _differing(*pair))
    step = job.steps[second.step]
    more = f"; more cells that share a file: {len(pairs) - 1}" if len(pairs) > 1 else ""
    is_same = first.output == second.output
    # what differs in case alone tells no files apart
    telling = [_expression(name, first) for name in names] if is_same else []
    template = _other_template(step.output, telling)
    written = "" if step.output is None else f" instead of `{step.output.written}`"
    alike = "" if is_same else f" and {second.output}, one file on a disk that ignores case and Unicode forms"
    return step.output_location.error(
        f"{_cells(first, second)} write{' the same file,' if is_same else ''} {first.output}{alike}{more}",
        f"write `{template}`{written}" if written else f"tell them apart: `output: {template}`",
    )


def _cells(first: Task, second: Task) -> str:
    return f"cells {first.index} ({first.cell_name}) and {second.index} ({second.cell_name})"


def _other_template(output: OutputTemplate | None, telling: list[str]) -> str:
    """The written template with the names that it lacks; with `index` if it has all that differ."""
    written = f"out/{'${{ job.name }}'}.mp4" if output is None else output.written
    lacks = [name for name in telling if not re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", written)]
    added = "".join(f"-${{{{ {name} }}}}" for name in lacks or ["index"])
    return f"{written.removesuffix('.mp4')}{added}.mp4"


def _expression(axis: str, task: Task) -> str:
    value = _values(task).get(axis)
    return f"{axis}.id" if isinstance(value, dict) and "id" in value else axis
