"""The generating part of a job file (models, seeds, matrix, request, content, output) to a Step."""

from __future__ import annotations

import re

from runner.job.expressions import KnownNames, did_you_mean, has_expression
from runner.job.matrix import BUILT_IN, MODEL, SAMPLE, SEED
from runner.job.model import AxisSpec, ContentItem, Step
from runner.job.node import Mapping, Node, Scalar, Sequence
from runner.job.paths import OutputTemplate, compile_output
from runner.job.seeds import Seeds, parse_seeds
from runner.job.values import Constant, Path, Place, Problems, Value, compile_value
from runner.resources import load_schema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(
    {"job", "step", "index", "vars", "env", "run", "needs"}
    | {"and", "or", "not", "if", "else", "in", "is", "true", "false", "none", "True", "False", "None"}
)
_OWN_PLACE = {
    MODEL: "models",
    SEED: "seeds",
    SAMPLE: "samples",
    "models": "models",
    "seeds": "seeds",
    "samples": "samples",
    "content": "content",
}
_PAYLOAD_KEY = {"draft_task": "id"}


def request_fields(provider: str) -> frozenset[str]:
    """The fields of the provider's request that `request:` and matrix axes may set."""
    properties: dict[str, object] = load_schema(f"{provider}-request")["properties"]
    return frozenset(properties) - {"model", "content"}


def read_step(document: Mapping, *, provider: str, known: KnownNames, problems: Problems) -> Step | None:
    """The step that `document` describes; None only where problems were found.

    `known` are the names that hold for the whole job; the axes come on top.
    """
    models = _models(document)
    seeds = _seeds(document, problems)
    samples = _samples(document)
    takes = document.get("seeds") or document.get("samples") or document.get("models") or document
    takes_key = next((key for key in ("seeds", "samples", "models") if document.get(key)), "models")
    if seeds is not None and samples is not None:
        node = document.get("samples") or document
        problems.add(
            Place(node.mark, ("samples",)).error(
                "seeds and samples are two ways to ask for several takes",
                "keep `seeds` to choose the seeds, or `samples` to have them derived",
            )
        )
    axes = _axes(document, known, problems)
    include = _entries(document, "include", known, problems)
    exclude = _entries(document, "exclude", known, problems)
    cell_names = _cell_names(document, known, axes, include, seeds=seeds, samples=samples)
    request = _request(document, cell_names, problems)
    content = _content(document, cell_names, problems)
    output = _output(document, cell_names, problems)
    fields = request_fields(provider)
    _check_entry_names(exclude, include, axes, seeds=seeds, samples=samples, problems=problems)
    _check_use(axes, include, request, content, output, fields, problems)
    _check_conflicts(axes, request, seeds=seeds, samples=samples, problems=problems)
    if problems.errors:
        return None
    return Step(
        name="",
        models=models,
        seeds=seeds,
        samples=samples,
        takes_place=Place(takes.mark, (takes_key,)),
        axes=axes,
        exclude=exclude,
        include=include,
        request=request,
        content=content,
        output=output,
    )


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Sequence) else ()


def _models(document: Mapping) -> tuple[tuple[str, Place], ...]:
    node = document.get("models")
    return tuple(
        (str(item.value), Place(item.mark, ("models", number)))
        for number, item in enumerate(_items(node))
        if isinstance(item, Scalar)
    )


def _seeds(document: Mapping, problems: Problems) -> Seeds | None:
    node = document.get("seeds")
    if node is None:
        return None
    single = (node, ("seeds",))
    listed = tuple((item, ("seeds", number)) for number, item in enumerate(_items(node)))
    ranges: list[range] = []
    for item, path in listed if isinstance(node, Sequence) else (single,):
        value = item.value if isinstance(item, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int | str):
            continue
        place = Place(item.mark, tuple(path))
        try:
            part = parse_seeds(value)
        except ValueError as error:
            problems.add(place.error(str(error)))
            continue
        twice = next((max(part[0], other[0]) for other in ranges if _overlap(part, other)), None)
        if twice is not None:
            problems.add(place.error(f"seed {twice} is given twice", "each seed once"))
        ranges.append(part)
    return Seeds(tuple(ranges))


def _overlap(one: range, other: range) -> bool:
    return one[0] <= other[-1] and other[0] <= one[-1]


def _samples(document: Mapping) -> int | None:
    node = document.get("samples")
    value = node.value if isinstance(node, Scalar) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _axes(document: Mapping, known: KnownNames, problems: Problems) -> tuple[AxisSpec, ...]:
    node = document.get("matrix")
    axes: list[AxisSpec] = []
    for key, values in node if isinstance(node, Mapping) else ():
        name = str(key.value)
        if name.startswith("x-"):
            continue
        place = Place(key.mark, ("matrix", name))
        if name in _OWN_PLACE:
            problems.add(place.error(f"`{name}` has a place of its own", f"use `{_OWN_PLACE[name]}:`"))
            continue
        if name in _RESERVED or not _NAME.fullmatch(name):
            problems.add(
                place.error(f"`{name}` cannot name an axis", "use a plain word of letters, digits and `_`")
            )
            continue
        items = tuple(
            compile_value(item, ("matrix", name, number), known, problems)
            for number, item in enumerate(_items(values))
        )
        axes.append(AxisSpec(name, place, items))
    return tuple(axes)


def _entries(document: Mapping, key: str, known: KnownNames, problems: Problems) -> tuple[Value, ...]:
    return tuple(
        compile_value(item, (key, number), known, problems)
        for number, item in enumerate(_items(document.get(key)))
        if isinstance(item, Mapping) and item.entries
    )


def _keys(entry: Value) -> tuple[str, ...]:
    content = entry.content.value if isinstance(entry.content, Constant) else entry.content
    return tuple(content) if isinstance(content, dict) else ()


def _include_names(include: tuple[Value, ...]) -> frozenset[str]:
    return frozenset(name for entry in include for name in _keys(entry))


def _cell_names(
    document: Mapping,
    known: KnownNames,
    axes: tuple[AxisSpec, ...],
    include: tuple[Value, ...],
    *,
    seeds: Seeds | None,
    samples: int | None,
) -> KnownNames:
    """The names that an expression of one cell may use."""
    plain = frozenset[str]()
    included = _include_names(include)
    names: dict[str, frozenset[str] | None] = {**known, "step": frozenset({"name"})}
    names |= {MODEL: plain, "index": plain}
    if seeds is not None or SEED in included:
        names[SEED] = plain
    if samples is not None:
        names[SAMPLE] = plain
    for name in {axis.name for axis in axes} | (included - BUILT_IN):
        names[name] = _parts(name, document)
    return names


def _parts(name: str, document: Mapping) -> frozenset[str] | None:
    """The keys that the objects of an axis have; None where an expression may add some."""
    matrix = document.get("matrix")
    nodes = list(_items(matrix.get(name))) if isinstance(matrix, Mapping) else []
    for entry in _items(document.get("include")):
        value = entry.get(name) if isinstance(entry, Mapping) else None
        if value is not None:
            nodes.append(value)
    parts: set[str] = set()
    for node in nodes:
        if isinstance(node, Scalar) and isinstance(node.value, str) and has_expression(node.value):
            return None
        if isinstance(node, Mapping):
            parts.update(str(key.value) for key, _ in node)
    return frozenset(parts)


def _request(document: Mapping, names: KnownNames, problems: Problems) -> dict[str, Value]:
    node = document.get("request")
    return {
        str(key.value): compile_value(value, ("request", str(key.value)), names, problems)
        for key, value in (node if isinstance(node, Mapping) else ())
        if not str(key.value).startswith("x-")
    }


def _content(document: Mapping, names: KnownNames, problems: Problems) -> tuple[ContentItem, ...]:
    items: list[ContentItem] = []
    for number, node in enumerate(_items(document.get("content"))):
        kind_node = node.get("type") if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(kind_node, Scalar):
            continue
        kind = str(kind_node.value)
        payload: Node | None = node.get(kind)
        path: Path = ("content", number, kind)
        if isinstance(payload, Mapping):
            inner = _PAYLOAD_KEY.get(kind, "url")
            payload, path = payload.get(inner), (*path, inner)
        if payload is None:
            continue
        role = node.get("role")
        items.append(
            ContentItem(
                kind=kind,
                place=Place(node.mark, ("content", number)),
                payload=compile_value(payload, path, names, problems),
                role=compile_value(role, ("content", number, "role"), names, problems) if role else None,
            )
        )
    return tuple(items)


def _output(document: Mapping, names: KnownNames, problems: Problems) -> OutputTemplate | None:
    node = document.get("output")
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    return compile_output(node, ("output",), names, problems)


def _check_entry_names(
    exclude: tuple[Value, ...],
    include: tuple[Value, ...],
    axes: tuple[AxisSpec, ...],
    *,
    seeds: Seeds | None,
    samples: int | None,
    problems: Problems,
) -> None:
    names = {MODEL, *(axis.name for axis in axes)}
    names |= {SEED} if seeds is not None else set()
    names |= {SAMPLE} if samples is not None else set()
    for entry in exclude:
        for name in _keys(entry):
            if name not in names:
                hint = did_you_mean(name, frozenset(names)) or f"axes: {', '.join(sorted(names))}"
                problems.add(entry.place.error(f"`{name}` is no axis", hint))
    for entry in include:
        for name in _keys(entry):
            if name == SAMPLE and samples is None:
                problems.add(entry.place.error("`sample` is no axis", "add `samples: N`"))
            elif name == SEED and samples is not None:
                problems.add(entry.place.error("`seed` beside `samples`", "samples derive their own seeds"))
            elif name not in BUILT_IN and (
                name in _RESERVED or name in _OWN_PLACE or not _NAME.fullmatch(name)
            ):
                problems.add(entry.place.error(f"`{name}` cannot name an axis", "use a plain word"))


def _check_use(
    axes: tuple[AxisSpec, ...],
    include: tuple[Value, ...],
    request: dict[str, Value],
    content: tuple[ContentItem, ...],
    output: OutputTemplate | None,
    fields: frozenset[str],
    problems: Problems,
) -> None:
    """An axis that nothing uses would pay for the same picture several times, or is misspelt."""
    if problems.errors:
        return  # an expression that did not compile may be the one that uses it
    used = {name for value in request.values() for name in value.names}
    used |= {name for item in content for name in item.payload.names}
    used |= {name for item in content if item.role for name in item.role.names}
    used |= output.names if output else set()
    axis_names = {axis.name for axis in axes}
    places = {axis.name: axis.place for axis in axes}
    for entry in include:
        for name in _keys(entry):
            if name not in axis_names | BUILT_IN:
                places.setdefault(name, entry.place)
    for name, place in places.items():
        if name not in used | fields:
            hint = did_you_mean(name, fields) or "use it in an expression, or ask for takes with `samples: N`"
            problems.add(
                place.error(f"axis `{name}` changes nothing: no field and no expression uses it", hint)
            )


def _check_conflicts(
    axes: tuple[AxisSpec, ...],
    request: dict[str, Value],
    *,
    seeds: Seeds | None,
    samples: int | None,
    problems: Problems,
) -> None:
    for axis in axes:
        if axis.name in request:
            problems.add(
                request[axis.name].place.error(
                    f"the axis `{axis.name}` sets this field too", "keep one of the two"
                )
            )
    if "seed" in request and (seeds is not None or samples is not None):
        key = "seeds" if seeds is not None else "samples"
        problems.add(request["seed"].place.error(f"`{key}` sets this field too", "keep one of the two"))
