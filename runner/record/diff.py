"""What changed between two runs, by their manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.json_value import JsonValue
from runner.ledger.states import TaskState
from runner.providers.base import RemoteFileKind
from runner.record.manifest import ManifestTask
from runner.record.request import differences


@dataclass(frozen=True, slots=True)
class Side:
    """One task of one run, as it is compared. `files` are (kind, sha256), the video first."""

    identity: str
    state: TaskState
    request: Mapping[str, JsonValue]
    seed: int | None
    echoed_seed: JsonValue
    cost_usd: str | None
    files: tuple[tuple[RemoteFileKind, str], ...]
    in_plan: bool = True
    cell: str = ""
    """The step and the values of its axes, as one text."""

    @classmethod
    def of(cls, task: ManifestTask) -> Side:
        costs = [attempt.cost_usd for attempt in task.attempts if attempt.cost_usd is not None]
        return cls(
            identity=task.identity,
            state=task.state,
            request=task.request,
            seed=task.seed,
            echoed_seed=task.echoed_seed,
            cost_usd=costs[-1] if costs else None,
            files=tuple((file.kind, file.sha256) for file in task.outputs),
            in_plan=task.in_plan,
            cell=json.dumps([task.step, task.cell], sort_keys=True),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One phrase for each thing that is other than it was; `what` groups them for programs."""

    what: str
    words: str


def changes(now: Side, was: Side) -> Iterator[Change]:
    """The differences of a task from the one of the same name in another run."""
    if now.in_plan != was.in_plan:
        yield Change("plan", "in the plan again" if now.in_plan else "no longer in the plan")
    for words in differences(now.request, was.request):
        yield Change("request", words)
    if now.identity != was.identity and now.request == was.request:
        yield Change("identity", "another task: edition, sample or service differs")
    if now.seed != was.seed:
        yield Change("seed", f"seed {_or_none(now.seed)}, was {_or_none(was.seed)}")
    if now.state is TaskState.PLANNED and was.state != now.state:
        # a seed, a cost or files that it does not have yet are not a change
        yield Change("state", "not made yet")
        return
    if now.seed == was.seed and now.echoed_seed != was.echoed_seed:
        echoed = f"echoed seed {_or_none(now.echoed_seed)}, was {_or_none(was.echoed_seed)}"
        yield Change("echoed_seed", echoed)
    if now.state != was.state:
        yield Change("state", f"{now.state}, was {was.state}")
    if now.cost_usd != was.cost_usd:
        yield Change("cost", f"USD {now.cost_usd or 'unknown'}, was {was.cost_usd or 'unknown'}")
    yield from _file_changes(now, was)


def _file_changes(now: Side, was: Side) -> Iterator[Change]:
    before, after = dict(was.files), dict(now.files)
    for kind in dict.fromkeys([*after, *before]):
        if kind not in before:
            yield Change("files", f"{kind} is new ({after[kind][:12]})")
        elif kind not in after:
            yield Change("files", f"{kind} is gone (was {before[kind][:12]})")
        elif before[kind] != after[kind]:
            yield Change("files", f"{kind} is {after[kind][:12]}, was {before[kind][:12]}")


def _or_none(value: JsonValue) -> str:
    return "none" if value is None else str(value)
