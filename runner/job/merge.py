"""What is merged: a step with what it inherits from the top level, a job with the file that it extends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from runner.job.yaml.nodes import Location, Mapping, Node, Scalar, entries_of
from runner.resources import load_schema
from runner.spelling import nearest

STEPS = "steps"
SHARED = (
    "models",
    "seeds",
    "samples",
    "matrix",
    "chain",
    "exclude",
    "include",
    "request",
    "request_at",
    "content",
    "output",
    "price",
)
"""Keys of a step that may stand at the top level, for a flat job's one step or for all steps."""

_NAMING = (*SHARED, "vars")
STEP_ONLY = frozenset({"needs", "pick"})
"""Keys that only a step has."""
_TAKES = frozenset({"seeds", "samples"})


@dataclass(frozen=True, slots=True)
class StepKeys:
    """The keys of one step. In a flat job `own` is the whole document; `shared` is None.

    `request` and `matrix` are merged key by key, the step's own last; other keys replace. `seeds`
    and `samples` replace each other, and a step with `needs` inherits neither.
    """

    name: str
    own: Mapping
    shared: Mapping | None = None

    def get(self, key: str) -> Node | None:
        return self._owner(key).get(key)

    def location_of(self, key: str) -> Location:
        """The location of `key`'s value, or of the step if it has none."""
        node = self.get(key)
        return node.location if node is not None else self.own.location.below(key)

    def merged(self, key: str) -> Iterator[tuple[Scalar, Node]]:
        """(key, value) of each entry of the mapping at `key`, without `x-` keys."""
        found: dict[str, tuple[Scalar, Node]] = {}
        for owner in (self.own,) if self.shared is None else (self.shared, self.own):
            for name, value in entries_of(owner.get(key)):
                text = str(name.value)
                if not text.startswith("x-"):
                    found[text] = (name, value)
        return iter(found.values())

    def merged_below(self, key: str, name: str) -> Iterator[tuple[Scalar, Node]]:
        """As `merged`, of the mapping at `name` of the mapping at `key`."""
        found: dict[str, tuple[Scalar, Node]] = {}
        for owner in (self.own,) if self.shared is None else (self.shared, self.own):
            parent = owner.get(key)
            for field, value in entries_of(parent.get(name) if isinstance(parent, Mapping) else None):
                if not str(field.value).startswith("x-"):
                    found[str(field.value)] = (field, value)
        return iter(found.values())

    def _owner(self, key: str) -> Mapping:
        if self.shared is None or key not in SHARED or self.own.get(key) is not None:
            return self.own
        if key in _TAKES and any(self.own.get(other) is not None for other in ("needs", *_TAKES)):
            return self.own
        return self.shared if self.shared.get(key) is not None else self.own


def on_top_of(below: Mapping, own: Mapping) -> Mapping:
    """`own` merged into `below`: mappings key by key, all the way down; anything else replaces.

    An empty value (`null`) takes away what `below` has. `seeds` and `samples` replace each other.
    """
    written = {str(key.value): value for key, value in own}
    hidden = _TAKES if _TAKES & written.keys() else frozenset[str]()
    entries: list[tuple[Scalar, Node]] = []
    inherited: set[str] = set()
    for key, value in below:
        name = str(key.value)
        inherited.add(name)
        match written.get(name):
            case None if name not in hidden:
                entries.append((key, value))
            case None | Scalar(value=None):
                pass
            case Mapping() as mapping if isinstance(value, Mapping):
                entries.append((key, on_top_of(value, mapping)))
            case other:
                entries.append((next(each for each, _ in own if each.value == name), other))
    entries += ((key, value) for key, value in own if str(key.value) not in inherited)
    return Mapping(tuple(entries), own.location)


def correct_keys(document: Mapping) -> Mapping:
    """The document with misspelt keys corrected, where names that expressions use stand below them.

    The schema has reported each key; uncorrected, each use of those names would be reported as well.
    """
    steps = document.get(STEPS)
    if isinstance(steps, Mapping):
        bodies = tuple((key, _corrected(body) if isinstance(body, Mapping) else body) for key, body in steps)
        entries = tuple(
            (key, replace(steps, entries=bodies) if node is steps else node) for key, node in document
        )
        document = replace(document, entries=entries)
    return _corrected(document)


def _corrected(level: Mapping) -> Mapping:
    known = load_schema("job")["properties"].keys() | STEP_ONLY
    taken = {key.value for key, _ in level}
    entries = []
    for key, node in level:
        near = nearest(str(key.value), _NAMING)
        is_own = str(key.value).startswith("x-")
        if near and near not in taken and key.value not in known and not is_own:
            taken.add(near)
            entries.append((replace(key, value=near), node))
        else:
            entries.append((key, node))
    return replace(level, entries=tuple(entries))
