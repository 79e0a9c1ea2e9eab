"""The axes of a step, and the entries that name them: `matrix`, `include`, `exclude` and `pick`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from runner.job.expressions.expressions import NEEDS, PREVIOUS, STEP_OUTPUTS, KnownNames, has_expression
from runner.job.expressions.filters import as_text
from runner.job.files.sources import FROM
from runner.job.files.texts import TextFiles
from runner.job.merge import StepKeys
from runner.job.model import BUILT_IN, MODEL, SAMPLE, SEED, AxisSpec, Step
from runner.job.problems import Checked, InvalidValueError, ProblemError
from runner.job.prompts import has_placeholder
from runner.job.seeds import Seeds
from runner.job.tables import read_table
from runner.job.values import Constant, Value, compile_values
from runner.job.yaml.nodes import Location, Scalar, cut, entries_of, items_of, text_of
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.json_value import JsonValue, canonical_json
from runner.providers.provider import Provider
from runner.spelling import did_you_mean

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    {"job", "step", "index", "vars", "env", "run", "needs"}
    | {"and", "or", "not", "if", "else", "in", "is", "true", "false", "none", "True", "False", "None"}
)
_OWN_KEYS = {
    MODEL: "models",
    SEED: "seeds",
    SAMPLE: "samples",
    "models": "models",
    "seeds": "seeds",
    "samples": "samples",
    "content": "content",
}
"""Names that a person might give an axis, and the key that says this."""


def read_axes(
    keys: StepKeys, known: KnownNames, files: TextFiles, fields: Set[str]
) -> Checked[tuple[AxisSpec, ...]]:
    """The axes of `matrix`; `fields` are those of the request."""
    axes: list[AxisSpec] = []
    for key, values in keys.merged("matrix"):
        name, location = str(key.value), key.location
        if name in _OWN_KEYS:
            yield location.error(f"`{name}` has a key of its own", f"use `{_OWN_KEYS[name]}:`")
            continue
        if _is_reserved(name, keys):
            yield location.error(
                f"`{name}` cannot name an axis", "use a plain word of letters, digits and `_`"
            )
            continue
        if isinstance(values, MappingNode):
            axes.append((yield from _axis_from_file(name, location, values, files, fields)))
            continue
        items = yield from compile_values(items_of(values), known)
        yield from check_values(
            (item.location, item.content.value) for item in items if isinstance(item.content, Constant)
        )
        axes.append(AxisSpec(name, location, items))
    return tuple(axes)


def _axis_from_file(
    name: str, location: Location, written: MappingNode, files: TextFiles, fields: Set[str]
) -> Checked[AxisSpec]:
    """The axis whose values are the rows or lines of the file at `from`."""
    path, separator = written.get(FROM), text_of(written.get("separator"))
    table = None
    if isinstance(path, Scalar) and has_expression(path.text):
        yield path.location.error("expressions are not evaluated here", "write the path of one file")
    elif isinstance(path, Scalar):
        try:
            table = yield from read_table(files.read(path.text), separator)
        except InvalidValueError as error:
            yield error.at(path.location)
        except ProblemError as error:
            yield from error.problems
    if table is None or not table.rows:  # the columns that expressions use must not seem unknown
        return AxisSpec(name, location, (), is_from_file=True)
    is_named = table.has_ids or (table.columns is None and name in fields)
    columns = frozenset[str]() if table.columns is None else table.columns
    return AxisSpec(name, location, table.rows, is_from_file=True, columns=columns, is_named=is_named)


def read_entries(keys: StepKeys, key: str, known: KnownNames) -> Checked[tuple[Value, ...]]:
    """The entries of `exclude`, `include` or `pick`."""
    entries = (item for item in items_of(keys.get(key)) if entries_of(item))
    return (yield from compile_values(entries, known))


def axis_names(
    keys: StepKeys,
    axes: tuple[AxisSpec, ...],
    include: tuple[Value, ...],
    *,
    seeds: Seeds | None,
    samples: int | None,
) -> KnownNames:
    """The names that a cell of the step has, with their parts."""
    plain = frozenset[str]()
    included = frozenset(name for entry in include for name in _entry_names(entry))
    names: dict[str, frozenset[str] | None] = {MODEL: plain}
    if seeds is not None or SEED in included:
        names[SEED] = plain
    if samples is not None:
        names[SAMPLE] = plain
    from_files = {axis.name: axis.columns for axis in axes if axis.is_from_file}
    for name in {axis.name for axis in axes} | (included - BUILT_IN):
        parts = _parts(name, keys)
        if name in from_files and parts is not None:
            columns = from_files[name]
            parts = None if columns is None else parts | columns
        names[name] = parts
    return names


def _parts(name: str, keys: StepKeys) -> frozenset[str] | None:
    """The keys of an axis's objects in the job file; None if an expression may add some."""
    nodes = [item for key, values in keys.merged("matrix") if key.value == name for item in items_of(values)]
    for entry in items_of(keys.get("include")):
        nodes += [value for key, value in entries_of(entry) if key.value == name]
    parts: set[str] = set()
    for node in nodes:
        if has_expression(text_of(node) or ""):
            return None
        parts.update(str(key.value) for key, _ in entries_of(node))
    return frozenset(parts)


def _is_reserved(name: str, keys: StepKeys) -> bool:
    """Whether no axis of the step may have this name."""
    is_chained = keys.get("chain") is not None
    is_output_of_step = name in STEP_OUTPUTS and (keys.shared is not None or is_chained)
    is_previous = name == PREVIOUS and is_chained
    return name in _RESERVED or is_output_of_step or is_previous or not _NAME.fullmatch(name)


def _entry_names(entry: Value) -> tuple[str, ...]:
    """The axes that an entry of `exclude` or `include` names."""
    content = entry.content.value if isinstance(entry.content, Constant) else entry.content
    return tuple(content) if isinstance(content, dict) else ()


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
            twice = location.error(f"{what} appears twice", "keep one; for several takes use `samples: N`")
            yield replace(twice, is_clash=True)
        seen.add(key)


def check_pick_names(keys: StepKeys, own: KnownNames, above: Mapping[str, KnownNames]) -> Checked[None]:
    """Each entry of `pick` names axes of the step and, under `needs`, steps above and their axes."""
    for entry in items_of(keys.get("pick")):
        for key, _ in entries_of(entry):
            if not (above and key.value == NEEDS):
                yield from _check_axis_name(str(key.value), key.location, own.keys())
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
                yield key.location.error(f"`{step}` is not a step above this one", hint)
            else:
                for axis, _ in entries_of(axes):
                    yield from _check_axis_name(str(axis.value), axis.location, above[step].keys())


def _check_axis_name(name: str, location: Location, axes: Set[str]) -> Checked[None]:
    if name not in axes:
        hint = did_you_mean(name, frozenset(axes)) or f"axes: {', '.join(sorted(axes))}"
        yield location.error(f"`{name}` is not an axis", hint)


def check_chain(step: Step, own: KnownNames, above: Mapping[str, KnownNames]) -> Checked[None]:
    """A chain goes along an axis of the step or of one above, and what it makes builds on the one before."""
    if not step.chain:
        return
    location = step.chain_location
    if step.chain in BUILT_IN:
        message = f"a chain cannot go along `{step.chain}`"
        yield location.error(
            message, "name an axis of `matrix`; models, seeds and samples make parallel chains"
        )
        return
    axes = {name for names in (own, *above.values()) for name in names} - BUILT_IN
    yield from _check_axis_name(step.chain, location, axes)
    using = [item for item in step.content if item.uses_previous]
    if not using and not any(PREVIOUS in value.names for value in step.fields):
        message = "nothing uses the task before, so there is no chain"
        yield location.error(message, f"add to `content`: {_FRAME_BEFORE}")
    elif using and len(using) == len(step.content):
        message = "the first task of the chain has no content: each item uses `previous`"
        yield location.error(message, "add an item that does not")


_FRAME_BEFORE = '{type: image_url, image_url: "${{ previous.last_frame }}", role: first_frame}'


def check_entry_names(step: Step, keys: StepKeys) -> Checked[None]:
    """Each entry of `exclude` names axes of the step; each of `include` names that an axis may have."""
    names = {MODEL, *(axis.name for axis in step.axes)}
    names |= {SEED} if step.seeds is not None else set()
    names |= {SAMPLE} if step.samples is not None else set()
    for entry in step.exclude:
        for name in _entry_names(entry):
            yield from _check_axis_name(name, entry.location, frozenset(names))
    for entry in step.include:
        for name in _entry_names(entry):
            if name == SAMPLE and step.samples is None:
                yield entry.location.error("`sample` is not an axis", "add `samples: N`")
            elif name == SEED and step.samples is not None:
                yield entry.location.error("`seed` beside `samples`", "samples derive their own seeds")
            elif name not in BUILT_IN and (name in _OWN_KEYS or _is_reserved(name, keys)):
                yield entry.location.error(f"`{name}` cannot name an axis", "use a plain word")


def axis_locations(step: Step) -> dict[str, Location]:
    """Where each axis that is not built in stands: in `matrix`, else in the first entry that adds it."""
    locations = {axis.name: axis.location for axis in step.axes}
    for entry in step.include:
        for name in _entry_names(entry):
            if name not in BUILT_IN:
                locations.setdefault(name, entry.location)
    return locations


def check_use(step: Step, fields: frozenset[str], above: Iterable[KnownNames]) -> Checked[None]:
    """An axis that nothing uses would pay for the same picture several times, or is misspelt.

    One that a join shares with a step above says which of its tasks is meant.
    """
    used = {name for value in step.fields for name in value.names}
    payloads = [item.payload for item in step.content]
    used |= {name for payload in payloads if isinstance(payload, Value) for name in payload.names}
    further = [
        part
        for item in step.content
        for part in (item.role, item.when, item.key, item.sha256)
        if part is not None
    ]
    used |= {name for part in further for name in part.names}
    used |= step.output.names if step.output else set()
    used.add(step.chain)  # each task along it has another one before it
    shared = {name for names in above for name in names}
    used |= shared if step.joins else set()
    texts = [payload.known for payload in payloads if isinstance(payload, Value)]
    if any(isinstance(text, str) and has_placeholder(text) for text in texts):
        return  # the axis may be used there, in another tool's form: the lint tells that
    for name, location in axis_locations(step).items():
        if name not in used | fields:
            takes = "use it in an expression, or ask for takes with `samples: N`"
            join = f"to meet only the tasks with its value: `needs: [{', '.join(step.needs)}]`"
            hint = join if name in shared else did_you_mean(name, fields) or takes
            yield location.error(f"axis `{name}` changes nothing: no field and no expression uses it", hint)


def check_conflicts(step: Step, providers: Iterable[Provider]) -> Checked[None]:
    """Finds fields that an axis and `request`, or `request_at`, both set."""
    own_names = [provider.own_name for provider in providers]
    written = [
        (name, value)
        for fields in (step.request, *step.request_at.values())
        for name, value in fields.items()
    ]
    for axis in step.axes:
        for name, value in written:
            is_one = any(own(axis.name) == own(name) != "" for own in own_names)
            if name == axis.name or is_one:
                yield value.location.error(
                    f"the axis `{axis.name}` sets this field too", "keep one of the two"
                )
    for name, value in written:
        if name == SEED and (step.seeds is not None or step.samples is not None):
            key = "seeds" if step.seeds is not None else "samples"
            yield value.location.error(f"`{key}` sets this field too", "keep one of the two")
