"""`chain:`, which makes one task of a step after the other: which task comes before which."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from runner.job.model import BUILT_IN, Step
from runner.job.problems import Checked
from runner.json_value import JsonValue, canonical_json
from runner.plan.combinations import Combination, Combined, axes_of
from runner.plan.matrix import Matrix
from runner.plan.names import cell_label, identifying_part
from runner.plan.picks import Lineage

_Key = tuple[bytes, ...]


def linked(step: Step, matrices: Mapping[str, Matrix], combined: Combined) -> Checked[Combined]:
    """The tasks of `step` in the order of its chains, each with the one before it.

    Tasks are of one chain where all else but the axis of the chain is equal: the axes of each `matrix`, and
    the models, seeds and samples. Those of the tasks above do not count where a single task above meets each
    value of the axis, as where `pick` has chosen one take of each.
    """
    places = _places(step, matrices, combined.combinations)
    made = [each for each in combined.combinations if each.is_made]
    on_chain = [each for each in made if _value(step, each) is not None]
    groups = _grouped(on_chain, lambda each: _key(step, matrices, each, with_takes_above=False))
    chains: list[list[Combination]] = []
    for group in groups:
        parts = [group]
        if _has_twice(step, group):
            parts = _grouped(group, lambda each: _key(step, matrices, each, with_takes_above=True))
        for part in parts:
            if _has_twice(step, part):
                twice = next(iter(_values_twice(step, part)))
                message = f"{_word(twice)} of `{step.chain}` comes twice in one chain"
                hint = "put the axes that make chains of their own under `matrix`, not only under `include`"
                yield step.chain_location.error(message, hint)
        if len({frozenset(canonical_json(_value(step, each)) for each in part) for part in parts}) > 1:
            yield step.chain_location.error(
                f"the chains along `{step.chain}` would have gaps: its values have different tasks above",
                f"pick one task of {' or '.join(f'`{name}`' for name in step.needs)} for each `{step.chain}`",
            )
        chains += parts
    before: dict[int, int] = {}
    for chain in chains:
        ordered = sorted(chain, key=lambda each: places[each.index])
        before |= {each.index: one.index for one, each in itertools.pairwise(ordered)}
    ordered = sorted(combined.combinations, key=lambda each: places[each.index])
    return replace(
        combined,
        combinations=tuple(replace(each, previous=before.get(each.index)) for each in ordered),
        chains=len(chains),
    )


def _value(step: Step, combination: Combination) -> JsonValue:
    return axes_of(combination.lineage(step.name)).get(step.chain)


def _places(
    step: Step, matrices: Mapping[str, Matrix], combinations: Sequence[Combination]
) -> dict[int, int]:
    """For each task the place of its value on the axis of the chain; values that `include` adds come last."""
    order: dict[bytes, int] = {}
    steps = combinations[0].lineage(step.name) if combinations else ()
    owner = next((name for name in steps if step.chain in _axes(matrices[name])), None)
    if owner is not None:
        values = next(axis.values for axis in matrices[owner].axes if axis.name == step.chain)
        for each in values:
            order.setdefault(canonical_json(each), len(order))
    found = [(each.index, canonical_json(_value(step, each))) for each in combinations]
    for _, value in found:
        order.setdefault(value, len(order))
    return {index: order[value] for index, value in found}


def _key(
    step: Step, matrices: Mapping[str, Matrix], combination: Combination, *, with_takes_above: bool
) -> _Key:
    """Equal for the tasks of one chain."""
    lineage = combination.lineage(step.name)
    is_own_axis = step.chain in combination.cell and not step.joins
    parts: list[JsonValue] = []
    for name, cell in lineage.items():
        is_own = name == step.name
        counted = _axes(matrices[name]) | (BUILT_IN if is_own or with_takes_above else frozenset())
        if is_own or not is_own_axis:
            counted -= {step.chain}
        parts.append([name, {axis: value for axis, value in cell.items() if axis in counted}])
    return tuple(map(canonical_json, parts))


def _axes(matrix: Matrix) -> frozenset[str]:
    return frozenset(axis.name for axis in matrix.axes)


def _grouped(
    combinations: Iterable[Combination], key: Callable[[Combination], _Key]
) -> list[list[Combination]]:
    groups: dict[_Key, list[Combination]] = {}
    for each in combinations:
        groups.setdefault(key(each), []).append(each)
    return [*groups.values()]


def _values_twice(step: Step, group: Iterable[Combination]) -> Iterator[JsonValue]:
    seen: set[bytes] = set()
    for each in group:
        value = _value(step, each)
        key = canonical_json(value)
        if key in seen:
            yield value
        seen.add(key)


def _has_twice(step: Step, group: Iterable[Combination]) -> bool:
    return next(_values_twice(step, group), None) is not None


def _word(value: JsonValue) -> str:
    return cell_label({"": identifying_part(value)}, with_model=False) or "a value"


def chain_words(step: Step, combined: Combined) -> str:
    """`film: 8 tasks in 2 chains along shot`."""
    number = len(combined.made)
    chains = "1 chain" if combined.chains == 1 else f"{combined.chains:,} chains"
    return f"{step.name}: {number:,} tasks in {chains} along {step.chain}".removeprefix(": ")


def lineage_key(lineage: Lineage) -> bytes:
    """Equal for two lineages of one task."""
    return canonical_json({step: dict(cell) for step, cell in lineage.items()})
