"""The steps of a job file, each after the one that it needs; a flat job file is one step without a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runner.errors import Problem
from runner.job.axes import check_use
from runner.job.expressions import KnownNames
from runner.job.merge import STEPS, StepKeys
from runner.job.model import Step
from runner.job.problems import Checked, Problems
from runner.job.steps import read_step
from runner.job.texts import TextFiles
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import entries_of, text_of
from runner.providers.provider import Provider
from runner.spelling import did_you_mean


def step_keys(document: MappingNode) -> Mapping[str, StepKeys]:
    """The keys of each step, by its name."""
    written = document.get(STEPS)
    if written is None:
        return {"": StepKeys("", document)}
    return {
        str(key.value): StepKeys(str(key.value), body, document)
        for key, body in entries_of(written)
        if isinstance(body, MappingNode) and not str(key.value).startswith("x-")
    }


def read_steps(
    document: MappingNode,
    *,
    provider: Provider,
    known: KnownNames,
    found: tuple[Problem, ...],
    files: TextFiles,
) -> Checked[Mapping[str, Step]]:
    """All steps by name, fit for use only where no problem is found.

    `known` are the names that hold for the whole job; `found` are the errors found before.
    """
    bodies = step_keys(document)
    order = {"": ()} if document.get(STEPS) is None else (yield from _in_order(bodies))
    steps: dict[str, Step] = {}
    axes: dict[str, KnownNames] = {}
    inherited: dict[Problem, dict[str, Problem]] = {}
    for name, above in order.items():
        keys = bodies[name]
        yield from _check_required(keys)
        own = Problems(earlier=found)
        names_above = {step: axes[step] for step in above}
        steps[name], axes[name] = own.gather(
            read_step(keys, provider=provider, known=known, above=names_above, files=files)
        )
        if not own.errors:  # an expression that did not compile may be the one that uses an axis
            own.gather(check_use(steps[name], provider.fields))
        for problem in (*own.errors, *own.warnings):
            if problem.path.startswith(f"{STEPS}."):
                yield problem
            elif problem not in found:
                inherited.setdefault(replace(problem, hint=""), {})[name] = problem
    for by_step in inherited.values():
        yield _in_steps(by_step, is_everywhere=len(by_step) == len(axes))
    return steps


def _in_steps(by_step: Mapping[str, Problem], *, is_everywhere: bool) -> Problem:
    """One problem for all steps that inherit it, with their names unless every step does."""
    problem = next(iter(by_step.values()))
    if is_everywhere:
        return problem
    word = "steps" if len(by_step) > 1 else "step"
    return replace(problem, message=f"{problem.message} (in {word} {', '.join(by_step)})")


def _in_order(bodies: Mapping[str, StepKeys]) -> Checked[dict[str, tuple[str, ...]]]:
    """The steps above each step, the nearest first; a step comes after those above it.

    Steps in a circle, above a missing step, or below either are left out; each is a problem.
    """
    needs = {name: text_of(keys.own.get("needs")) or "" for name, keys in bodies.items()}
    above: dict[str, tuple[str, ...]] = {}
    circled: set[str] = set()
    for name in bodies:
        path = [name]
        while (wanted := needs[path[-1]]) and wanted not in above and wanted in bodies and wanted not in path:
            path.append(wanted)
        location = bodies[path[-1]].location_of("needs")
        if wanted and wanted not in bodies:
            others = frozenset(bodies) - {path[-1]}
            hint = did_you_mean(wanted, others) or f"steps: {', '.join(sorted(others)) or 'no other'}"
            yield location.error(f"no step `{wanted}`", hint)
            continue
        if wanted in path:
            if wanted == name and circled.isdisjoint(path):
                circled.update(path)
                location = bodies[name].location_of("needs")
                circle = " > ".join([*path, name])
                yield location.error(f"steps in a circle: {circle}", "one of them must need no other step")
            continue
        for step in reversed(path):
            up = needs[step]
            above[step] = (up, *above[up]) if up else ()
    return above


def _check_required(keys: StepKeys) -> Checked[None]:
    for key, example in (
        ("models", "models: [byteplus/seedance-1-0-pro]"),
        ("content", "content: [{type: text, text: A teapot spins}]"),
    ):
        if keys.get(key) is None:
            where = "to the step, or at the top level for all steps"
            yield keys.own.location.error(f"`{key}` is missing", f"add `{example}` {where}")
