"""The steps of a job file, each after the one that it needs; a flat job file is one step without a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from runner.errors import Problem
from runner.job.axes import check_use
from runner.job.choices import providers_of
from runner.job.expressions.expressions import KnownNames
from runner.job.files.texts import TextFiles
from runner.job.merge import STEPS, StepKeys
from runner.job.model import Step
from runner.job.problems import Checked, Problems
from runner.job.provider_checks import settable
from runner.job.steps import needs_of, read_step
from runner.job.yaml.nodes import Location, entries_of
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.providers.account import Account
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
    accounts: Mapping[str, Account],
    known: KnownNames,
    found: tuple[Problem, ...],
    files: TextFiles,
) -> Checked[Mapping[str, Step]]:
    """All steps by name, fit for use only where no problem is found.

    `known` are the names that hold for the whole job; `found` are the errors found before.
    """
    bodies = step_keys(document)
    # else a name in `request_at` may be that of a model's account, which is misspelt
    are_models_read = not any("models" in problem.path for problem in found)
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
            read_step(
                keys,
                accounts=accounts,
                known=known,
                above=names_above,
                files=files,
                are_models_read=are_models_read,
            )
        )
        if not own.errors:  # an expression that did not compile may be the one that uses an axis
            fields = settable(providers_of(steps[name].models, accounts))
            own.gather(check_use(steps[name], fields, names_above.values()))
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
    order = _Order({name: needs_of(keys) for name, keys in bodies.items()})
    for name in bodies:
        yield from order.visit(name, ())
    return order.above


@dataclass(slots=True)
class _Order:
    """`needs` has for each step the steps that it needs, with the location of each name."""

    needs: Mapping[str, Mapping[str, Location]]
    above: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _broken: set[str] = field(default_factory=set)

    def visit(self, name: str, path: tuple[str, ...]) -> Checked[None]:
        """Puts a step after those above it; `path` leads to it."""
        if name in self.above or name in self._broken:
            return
        if name in path:
            yield self._circle(path[path.index(name) :])
            return
        for wanted, location in self.needs[name].items():
            if wanted in self.needs:
                yield from self.visit(wanted, (*path, name))
            else:
                others = frozenset(self.needs) - {name}
                hint = did_you_mean(wanted, others) or f"steps: {', '.join(sorted(others)) or 'no other'}"
                yield location.error(f"no step `{wanted}`", hint)
        if all(wanted in self.above for wanted in self.needs[name]):
            direct = tuple(self.needs[name])
            further = (step for wanted in direct for step in self.above[wanted])
            self.above[name] = tuple(dict.fromkeys((*direct, *further)))
        else:
            self._broken.add(name)

    def _circle(self, steps: tuple[str, ...]) -> Problem:
        """Told from the step that comes first in the file."""
        start = next(name for name in self.needs if name in steps)
        at = steps.index(start)
        circle = (*steps[at:], *steps[:at], start)
        location = self.needs[start][circle[1]]
        return location.error(
            f"steps in a circle: {' > '.join(circle)}", "one of them must need no other step"
        )


def _check_required(keys: StepKeys) -> Checked[None]:
    for key, example in (
        ("models", "models: [byteplus/seedance-1-0-pro]"),
        ("content", "content: [{type: text, text: A teapot spins}]"),
    ):
        if keys.get(key) is None:
            where = "to the step, or at the top level for all steps"
            yield keys.own.location.error(f"`{key}` is missing", f"add `{example}` {where}")
