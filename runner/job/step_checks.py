"""What is wrong with a step as a whole: names that are no axes, axes that nothing uses, twofold fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from runner.job.expressions import NEEDS, STEP_OUTPUTS, KnownNames
from runner.job.filters import as_text
from runner.job.matrix import BUILT_IN, MODEL, SAMPLE, SEED
from runner.job.merge import StepKeys
from runner.job.model import Step
from runner.job.problems import Checked
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, Node, Sequence, cut
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.json_value import JsonValue, canonical_json
from runner.near import did_you_mean

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    {"job", "step", "index", "vars", "env", "run", "needs"}
    | {"and", "or", "not", "if", "else", "in", "is", "true", "false", "none", "True", "False", "None"}
)
OWN_PLACE = {
    MODEL: "models",
    SEED: "seeds",
    SAMPLE: "samples",
    "models": "models",
    "seeds": "seeds",
    "samples": "samples",
    "content": "content",
}


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The items of a list; none of what is no list."""
    return node.items if isinstance(node, Sequence) else ()


def is_reserved(name: str, keys: StepKeys) -> bool:
    """Whether no axis of the step may be called so."""
    is_output_of_step = name in STEP_OUTPUTS and keys.shared is not None
    return name in _RESERVED or is_output_of_step or not _NAME.fullmatch(name)


def entry_keys(entry: Value) -> tuple[str, ...]:
    """The axes that an entry of `exclude` or `include` names."""
    content = entry.content.value if isinstance(entry.content, Constant) else entry.content
    return tuple(content) if isinstance(content, dict) else ()


def check_pick_names(keys: StepKeys, own: KnownNames, above: Mapping[str, KnownNames]) -> Checked[None]:
    """Each entry of `pick` names axes of the step and, under `needs`, steps above and their axes."""
    for entry in items_of(keys.get("pick")):
        yield from _check_axis_names(entry, own, {NEEDS} if above else set())
        needs = entry.get(NEEDS) if above and isinstance(entry, MappingNode) else None
        if needs is None:
            continue
        if not isinstance(needs, MappingNode):
            yield needs.location.error("must be keys and values", f"needs: {{{next(iter(above))}: {{...}}}}")
            continue
        for key, axes in needs:
            step = str(key.value)
            if step not in above:
                hint = did_you_mean(step, frozenset(above)) or f"steps above: {', '.join(above)}"
                yield key.location.error(f"`{step}` is no step above this one", hint)
            else:
                yield from _check_axis_names(axes, above[step], set())


def _check_axis_names(entry: Node, axes: KnownNames, more: set[str]) -> Checked[None]:
    for key, _ in entry if isinstance(entry, MappingNode) else ():
        name = str(key.value)
        if name not in axes.keys() | more:
            hint = did_you_mean(name, frozenset(axes)) or f"axes: {', '.join(sorted(axes))}"
            yield key.location.error(f"`{name}` is no axis", hint)


def check_entry_names(step: Step, keys: StepKeys) -> Checked[None]:
    """Each entry of `exclude` names axes of the step; each of `include` names that an axis may have."""
    names = {MODEL, *(axis.name for axis in step.axes)}
    names |= {SEED} if step.seeds is not None else set()
    names |= {SAMPLE} if step.samples is not None else set()
    for entry in step.exclude:
        for name in entry_keys(entry):
            if name not in names:
                hint = did_you_mean(name, frozenset(names)) or f"axes: {', '.join(sorted(names))}"
                yield entry.location.error(f"`{name}` is no axis", hint)
    for entry in step.include:
        for name in entry_keys(entry):
            if name == SAMPLE and step.samples is None:
                yield entry.location.error("`sample` is no axis", "add `samples: N`")
            elif name == SEED and step.samples is not None:
                yield entry.location.error("`seed` beside `samples`", "samples derive their own seeds")
            elif name not in BUILT_IN and (name in OWN_PLACE or is_reserved(name, keys)):
                yield entry.location.error(f"`{name}` cannot name an axis", "use a plain word")


def check_values(values: Iterable[tuple[Location, JsonValue]]) -> Checked[None]:
    """An axis has each value once: two equal ones would ask for one video twice."""
    seen: set[bytes] = set()
    for location, value in values:
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        key = canonical_json(plain)
        if key in seen:
            what = "the same list" if isinstance(plain, list | tuple) else "the same object"
            if not isinstance(plain, list | tuple | dict):
                what = cut(as_text(plain, ""))
            yield location.error(f"{what} is here twice", "keep one; for several takes use `samples: N`")
        seen.add(key)


def axis_locations(step: Step) -> dict[str, Location]:
    """Where each axis that is not built in stands: in `matrix`, else in the first entry that adds it."""
    locations = {axis.name: axis.location for axis in step.axes}
    for entry in step.include:
        for name in entry_keys(entry):
            if name not in BUILT_IN:
                locations.setdefault(name, entry.location)
    return locations


def check_use(step: Step, fields: frozenset[str]) -> Checked[None]:
    """An axis that nothing uses would pay for the same picture several times, or is misspelt."""
    used = {name for value in step.request.values() for name in value.names}
    payloads = [item.payload for item in step.content]
    used |= {name for payload in payloads if isinstance(payload, Value) for name in payload.names}
    used |= {name for item in step.content if item.role for name in item.role.names}
    used |= step.output.names if step.output else set()
    for name, location in axis_locations(step).items():
        if name not in used | fields:
            takes = "use it in an expression, or ask for takes with `samples: N`"
            hint = did_you_mean(name, fields) or takes
            yield location.error(f"axis `{name}` changes nothing: no field and no expression uses it", hint)


def check_conflicts(step: Step) -> Checked[None]:
    """What sets a field that `request` sets too."""
    for axis in step.axes:
        if axis.name in step.request:
            location = step.request[axis.name].location
            yield location.error(f"the axis `{axis.name}` sets this field too", "keep one of the two")
    if "seed" in step.request and (step.seeds is not None or step.samples is not None):
        key = "seeds" if step.seeds is not None else "samples"
        yield step.request["seed"].location.error(f"`{key}` sets this field too", "keep one of the two")
