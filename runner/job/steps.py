"""The generating part of a job file (models, seeds, matrix, request, content, output) to a Step."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping

from runner.job.axes import (
    axis_locations,
    axis_names,
    check_chain,
    check_conflicts,
    check_entry_names,
    check_pick_names,
    read_axes,
    read_entries,
)
from runner.job.choices import providers_of, read_models
from runner.job.expressions.expressions import (
    LAST_FRAME,
    NEEDS,
    OUTPUT,
    PREVIOUS,
    TASK_ID,
    Condition,
    KnownNames,
    compile_condition,
    compile_template,
    has_expression,
)
from runner.job.expressions.paths import compile_output
from runner.job.files.inputs import find_payload
from runner.job.files.sources import FROM
from runner.job.files.texts import TextFiles
from runner.job.merge import StepKeys
from runner.job.model import ContentItem, Reference, Step
from runner.job.policy import read_price
from runner.job.problems import Checked, InvalidValueError, ProblemError
from runner.job.provider_checks import (
    check_axes,
    check_content,
    check_fields,
    check_seeds,
    check_twice,
    settable,
)
from runner.job.seeds import SeedError, Seeds, parse_seeds
from runner.job.values import Constant, TextFrom, Value, compile_text, compile_value
from runner.job.yaml.nodes import Location, Node, Scalar, Sequence, items_of, text_of
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.project import PROJECT_FILE
from runner.providers.account import Account
from runner.providers.provider import Provider
from runner.spelling import did_you_mean

_REFERENCE = re.compile(r"\$\{\{\s*(?:needs\.(?P<step>\w+)|previous)\.(?P<output>\w+)\s*\}\}")
_REFERENCE_IN = {"image_url": LAST_FRAME, "video_url": OUTPUT, "draft_task": TASK_ID}


def read_step(
    keys: StepKeys,
    *,
    accounts: Mapping[str, Account],
    known: KnownNames,
    above: Mapping[str, KnownNames],
    files: TextFiles,
    are_models_read: bool,
) -> Checked[tuple[Step, KnownNames]]:
    """(the step, the names of its axes). The step is fit for use only where no problem is found.

    `known` are the names that hold for the whole job; `above` are the names of the axes of the
    steps above, the nearest first. `are_models_read`: nothing is wrong with the models of the job.
    """
    seeds = yield from _seeds(keys)
    node = keys.get("samples")
    number = node.value if isinstance(node, Scalar) else None
    samples = number if isinstance(number, int) and not isinstance(number, bool) else None
    models = yield from read_models(items_of(keys.get("models")), accounts)
    providers = providers_of(models, accounts)
    takes_key = next((key for key in ("seeds", "samples", "models") if keys.get(key)), "models")
    if seeds is not None and samples is not None:
        yield keys.location_of("samples").error(
            "seeds and samples are two ways to ask for several takes",
            "keep `seeds` to choose the seeds, or `samples` to have them derived",
        )
    axes = yield from read_axes(keys, known, files, settable(providers))
    include = yield from read_entries(keys, "include", known)
    exclude = yield from read_entries(keys, "exclude", known)
    pick = (yield from read_entries(keys, "pick", known)) if keys.get("pick") is not None else None
    own_names = axis_names(keys, axes, include, seeds=seeds, samples=samples)
    cell_names = _cell_names(known, own_names, above)
    names_of_path = cell_names
    chain = text_of(keys.get("chain")) or ""
    if chain:
        parts = {f"{PREVIOUS}.{axis}": each for axis, each in own_names.items()}
        cell_names = {**cell_names, PREVIOUS: frozenset(own_names), **parts}
    request: dict[str, Value] = {}
    for key, value in keys.merged("request"):
        request[str(key.value)] = yield from compile_value(value, cell_names)
    request_at = yield from _request_at(keys, accounts, providers, cell_names, are_models_read)
    needs = needs_of(keys)
    content = yield from _content(keys, cell_names, above, tuple(needs), files)
    output_node = keys.get("output")
    output = None
    if isinstance(output_node, Scalar) and isinstance(output_node.value, str):
        output = yield from compile_output(output_node, names_of_path)
    price = yield from read_price(keys.get("price"))
    if price is not None and len({choice.account for choice in models}) > 1:
        yield keys.location_of("price").warning(
            "one price for the models of several services",
            f"`prices:` in {PROJECT_FILE} has one for each model",
        )
    yield from check_fields(providers, request, is_mixed=len(accounts) > 1)
    yield from check_twice(providers, request)
    known_fields = settable(providers)
    step = Step(
        name=keys.name,
        location=keys.own.location,
        needs=tuple(needs) if above else (),
        joins=isinstance(keys.get("needs"), Sequence),
        chain=chain,
        chain_location=keys.location_of("chain"),
        pick=pick,
        pick_location=keys.location_of("pick"),
        models=models,
        seeds=seeds,
        samples=samples,
        takes_location=keys.location_of(takes_key),
        axes=axes,
        exclude=exclude,
        include=include,
        request={name: value for name, value in request.items() if name in known_fields},
        content=content,
        output=output,
        price=price,
        request_at=request_at,
    )
    yield from check_axes(providers, axis_locations(step), step.fields, content)
    if seeds is not None:
        yield from check_seeds(providers, seeds, keys.location_of("seeds"))
    if all(item.when is None for item in content):  # else each cell's own are checked
        for each in providers:
            yield from check_content(each, content, keys.location_of("content"))
    yield from check_entry_names(step, keys)
    yield from check_chain(step, own_names, above)
    yield from check_pick_names(keys, own_names, above)
    yield from check_conflicts(step, providers)
    return step, own_names


def _request_at(
    keys: StepKeys,
    accounts: Mapping[str, Account],
    providers: tuple[Provider, ...],
    names: KnownNames,
    are_models_read: bool,
) -> Checked[Mapping[str, Mapping[str, Value]]]:
    """The fields for one account or one provider, by its name; each is one that it has."""
    by_name: dict[str, Mapping[str, Value]] = {}
    whose = {name: account.provider for name, account in accounts.items()}
    whose |= {account.provider.name: account.provider for account in accounts.values()}
    for place, _ in keys.merged("request_at"):
        name = str(place.value)
        provider = whose.get(name)
        if provider is None:
            hint = did_you_mean(name, whose) or f"accounts of this job: {', '.join(accounts)}"
            if are_models_read:
                yield place.location.error(f"no model of this job is asked at `{name}`", hint)
            continue
        request: dict[str, Value] = {}
        for key, value in keys.merged_below("request_at", name):
            request[str(key.value)] = yield from compile_value(value, names)
        if provider in providers:
            yield from check_fields((provider,), request, is_mixed=len(accounts) > 1)
            yield from check_twice((provider,), request)
        by_name[name] = {field: value for field, value in request.items() if provider.own_name(field)}
    return by_name


def needs_of(keys: StepKeys) -> dict[str, Location]:
    """The steps that one `needs`, with the location of each name."""
    node = keys.own.get("needs") if keys.shared is not None else None
    nodes = node.items if isinstance(node, Sequence) else (node,)
    return {name: each.location for each in nodes if each is not None and (name := text_of(each))}


def _seeds(keys: StepKeys) -> Checked[Seeds | None]:
    node = keys.get("seeds")
    if node is None:
        return None
    ranges: list[range] = []
    in_order: list[range] = []
    for item in node.items if isinstance(node, Sequence) else (node,):
        value = item.value if isinstance(item, Scalar) else None
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON, and so the schema, takes 1.0 for a whole number
        if isinstance(value, bool) or not isinstance(value, int | str):
            continue
        try:
            part = parse_seeds(value)
        except SeedError as error:
            yield error.at(item.location)
            continue
        position = bisect.bisect(in_order, part[0], key=lambda other: other[0])
        beside = in_order[max(0, position - 1) : position + 1]
        shared = (max(part[0], other[0]) for other in beside if part[0] <= other[-1] and other[0] <= part[-1])
        twice = next(shared, None)
        if twice is None:
            in_order.insert(position, part)
        else:
            yield item.location.error(f"seed {twice} is given twice", "give each seed once")
        ranges.append(part)
    return Seeds(tuple(ranges))


def _cell_names(known: KnownNames, own: KnownNames, above: Mapping[str, KnownNames]) -> KnownNames:
    """The names that an expression of one cell may use."""
    names: dict[str, frozenset[str] | None] = {
        **known,
        **own,
        "step": frozenset({"name"}),
        "index": frozenset(),
    }
    if above:
        names[NEEDS] = frozenset(above)
    for step, axes in above.items():
        names[f"{NEEDS}.{step}"] = frozenset(axes)
        names |= {f"{NEEDS}.{step}.{axis}": parts for axis, parts in axes.items()}
    return names


def _content(
    keys: StepKeys,
    names: KnownNames,
    above: Mapping[str, KnownNames],
    needs: tuple[str, ...],
    files: TextFiles,
) -> Checked[tuple[ContentItem, ...]]:
    items: list[ContentItem] = []
    is_chained = bool(text_of(keys.get("chain")))
    for node in items_of(keys.get("content")):
        payload: Value | Reference | None
        text_node = node.get("text") if isinstance(node, MappingNode) else None
        if isinstance(text_node, MappingNode):
            kind, payload = "text", (yield from _text_from(text_node, names, files))
        elif (found := find_payload(node)) is not None:
            kind, payload_node = found
            payload = None
            if is_chained or above:
                payload = yield from _reference(
                    payload_node, kind, keys.name if is_chained else None, above, needs
                )
            if payload is None:
                payload = yield from compile_value(payload_node, names)
        else:
            continue
        role_node = _entry(node, "role")
        role = (yield from compile_value(role_node, names)) if role_node else None
        key, sha256 = yield from _stand_ins(_entry(node, kind), payload, names)
        when_node = _entry(node, "when")
        when = None
        if isinstance(when_node, Scalar) and isinstance(when_node.value, str):
            when = yield from compile_condition(when_node.value, names, when_node.location)
        parts = [
            part.read_names
            for part in (payload, role, key, sha256, when)
            if isinstance(part, Value | Condition)
        ]
        is_taken = isinstance(payload, Reference) and payload.step == keys.name
        uses_previous = is_chained and (is_taken or PREVIOUS in frozenset[str]().union(*parts))
        items.append(ContentItem(kind, node.location, payload, role, key, sha256, when, uses_previous))
    return tuple(items)


def _text_from(written: MappingNode, names: KnownNames, files: TextFiles) -> Checked[Value]:
    """The text of the file at `from`, which may hold what a text in the job file may hold."""
    path = written.get(FROM)
    nothing = Value(written.location, Constant(None), frozenset())
    if not isinstance(path, Scalar):
        return nothing
    if has_expression(path.text):
        template = yield from compile_template(path.text, names, path.location)
        any_name = frozenset(names)
        return (
            nothing if template is None else Value(path.location, TextFrom(template, files, names), any_name)
        )
    try:
        return (yield from compile_text(files.read(path.text), names))
    except InvalidValueError as error:
        yield error.at(path.location)
    except ProblemError as error:
        yield from error.problems
    return nothing


def _entry(node: Node | None, name: str) -> Node | None:
    """The value at `name` of a mapping; None of anything else."""
    return node.get(name) if isinstance(node, MappingNode) else None


def _stand_ins(
    target: Node | None, payload: Value | Reference, names: KnownNames
) -> Checked[tuple[Value | None, Value | None]]:
    """The `key` and the `sha256` that stand for an address."""
    nodes = [_entry(target, name) for name in ("key", "sha256")]
    given = [node for node in nodes if node is not None]
    if len(given) > 1:
        yield given[1].location.error("`key` and `sha256` exclude each other", "keep one")
    elif given and isinstance(payload, Reference):
        yield given[0].location.error("what a step makes is known by its task", "delete this line")
    key, sha256 = nodes
    return (
        (yield from compile_value(key, names)) if key is not None else None,
        (yield from compile_value(sha256, names)) if sha256 is not None else None,
    )


def _reference(
    payload: Node,
    kind: str,
    chained: str | None,
    above: Mapping[str, KnownNames],
    needs: tuple[str, ...],
) -> Checked[Reference | None]:
    """The payload as a reference to an upstream task; None where it is none that may stand here.

    `chained` is the name of the step, None where it has no chain.
    """
    found = _REFERENCE.fullmatch(text_of(payload) or "")
    if found is None or _REFERENCE_IN.get(kind) != found["output"]:
        return None
    step = found["step"]
    if step is None:
        return None if chained is None else Reference(payload.location, chained, found["output"])
    if step not in above:
        return None
    if step not in needs:
        yield payload.location.error(
            f"`{step}` is not a step that this one needs: only its axes are known here",
            " or ".join(f"needs.{each}.{found['output']}" for each in needs),
        )
    return Reference(payload.location, step, found["output"])
