"""Task: one generation that somebody pays for, and what makes two of them the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from runner.json_value import JsonValue, canonical_json
from runner.money import Price
from runner.providers.base import InputFile
from runner.providers.provider import Provider

STEP_SCHEME = "step:"
"""What an upstream task makes stands in a request as `step:<identity>/<one of STEP_OUTPUTS>`."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The task that another one needs, and what that one takes of it.

    `name` is the readable one. `uses` are those of STEP_OUTPUTS that the request refers to; it may
    be empty. `cells` are the cells of the tasks above, by the name of their step, the nearest first.
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
    readable and unique in its plan. `cell` maps each axis to its value (`model`, `seed`, `sample`
    and the matrix axes). `request` is the wire request with each local file as `INPUT_SCHEME`
    reference and each output of another task as `STEP_SCHEME` reference. `seed` is the one that is
    sent, None where none is. `output` is the path of the video below the base directory, with
    forward slashes. `upstream` is None where the step needs no other. `ignored_seed` is one that the
    job gives and the model ignores: it is part of the identity, and is not sent. `left_out` are the numbers
    of the step's content items that `when` leaves out.
    """

    identity: str
    index: int
    step: str
    name: str
    cell: Mapping[str, JsonValue]
    provider: str
    origin: str
    edition: str
    model: str
    seed: int | None
    sample: int | None
    request: Mapping[str, JsonValue]
    inputs: tuple[InputFile, ...]
    output: str
    upstream: Upstream | None = None
    estimate_tokens: int | None = None
    estimate_micros: int | None = None
    price: Price | None = None
    ignored_seed: int | None = None
    left_out: frozenset[int] = frozenset()


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
