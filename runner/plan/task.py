"""Task: one generation that somebody pays for, and what makes two of them the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner.json_value import JsonValue, canonical_json
from runner.money import Price
from runner.providers.base import InputFile
from runner.providers.provider import Provider

STEP_SCHEME = "step:"
"""What an upstream task makes stands in a request as `step:<identity>/<one of STEP_OUTPUTS>`."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A task that another one builds on, and what that one takes of it: a task of a step that its own step
    needs, or the one before it in its chain, whose step is its own.

    `name` is the readable one. `uses` are those of STEP_OUTPUTS that the request refers to; it may
    be empty. `cells` are its cell and those of the tasks above it, by the name of their step, the nearest
    first.
    """

    identity: str
    name: str
    step: str
    uses: frozenset[str]
    cells: Mapping[str, Mapping[str, JsonValue]]

    def reference(self, name: str) -> str:
        """How the output `name`, one of STEP_OUTPUTS, stands in the request."""
        return f"{STEP_SCHEME}{self.identity}/{name}"


@dataclass(frozen=True, slots=True)
class Task:
    """One cell of a plan, resolved: all that is needed to submit it and to name its files.

    `identity` is 64 hex digits. `index` counts the tasks of one step and then those of the next,
    from 0, with gaps where `pick` leaves some out. `step` is empty in a flat job; `name` is
    readable, unique in its plan, and ends as the output's stem does. `cell_name` is made of the cell's
    values: it is the name where the job file has no `output`. `cell` maps each axis to its value
    (`model`, `seed`, `sample` and the matrix axes). `request` is the wire request with each local file
    as `INPUT_SCHEME` reference and each output of another task as `STEP_SCHEME` reference. `seed` is
    the one that is sent, None where none is. `output` is the path of the video below the base directory, with
    forward slashes. `upstreams` are the tasks of the steps that its own needs, in the order of `needs`, and
    then the one before it in its chain. `ignored_seed` is one that the job gives and the model ignores: it is
    part of the identity, and is not sent. `addresses` are the URLs, which may be secret, that names of the
    job's own stand for in `request`; they are kept nowhere. `left_out` are the numbers of the step's content
    items that `when` leaves out, or that use the one before where there is none. `account` is whose key pays
    for it, and `model_name` how the job calls the model: in paths, in `exclude` and on the sheet. `unsaid`
    are fields, by the job's names, that its service or model has not, so that they are not in `request`.
    """

    identity: str
    index: int
    step: str
    name: str
    cell: Mapping[str, JsonValue]
    provider: str
    account: str
    origin: str
    edition: str
    model: str
    seed: int | None
    sample: int | None
    request: Mapping[str, JsonValue]
    inputs: tuple[InputFile, ...]
    output: str
    upstreams: tuple[Upstream, ...] = ()
    estimate_tokens: int | None = None
    estimate_micros: int | None = None
    price: Price | None = None
    ignored_seed: int | None = None
    addresses: Mapping[str, str] = field(default_factory=dict, repr=False)
    cell_name: str = ""
    left_out: frozenset[int] = frozenset()
    model_name: str = ""
    unsaid: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[Upstream, ...]:
        """Those of the upstream tasks that are of other steps."""
        return tuple(upstream for upstream in self.upstreams if upstream.step != self.step)

    @property
    def previous(self) -> Upstream | None:
        """The task before this one in its chain."""
        return next((upstream for upstream in self.upstreams if upstream.step == self.step), None)

    @property
    def upstream(self) -> Upstream | None:
        """The task of the first step that its own needs."""
        return next(iter(self.needs), None)

    @property
    def cells_above(self) -> Mapping[str, Mapping[str, JsonValue]]:
        """The cells of the tasks above, by the name of their step, the nearest first."""
        return cells_of(self.needs)


def cells_of(needs: Sequence[Upstream]) -> Mapping[str, Mapping[str, JsonValue]]:
    """The cells of tasks and of all above them, by step: those of the last one first, then what is above."""
    nearest = {upstream.step: upstream.cells[upstream.step] for upstream in reversed(needs)}
    further = {step: cell for upstream in reversed(needs) for step, cell in upstream.cells.items()}
    return nearest | {step: cell for step, cell in further.items() if step not in nearest}


def task_identity(
    *, provider: Provider, origin: str, request: Mapping[str, JsonValue], sample: int | None, edition: str
) -> str:
    """sha256 over what makes the picture (docs/reference/identity.md), as 64 hex digits."""
    parts = {
        "edition": edition,
        "origin": origin,
        "provider": provider.name,
        "request": provider.picture(request),
        "sample": sample,
    }
    return hashlib.sha256(canonical_json(parts)).hexdigest()
