"""Unresolved attempts and rows of a service's list, made without a ledger or a server."""

from __future__ import annotations

from runner.http.verdicts import Verdict
from runner.json_value import JsonValue
from runner.lane.evidence import Belief, Beliefs, Unclear
from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason, TaskState
from runner.providers.base import Generation, GenerationStatus
from runner.providers.mesh import MESH

MODEL = "byteplus/seedance-1-0-pro"
"""A model that honours seeds."""

DEAF_MODEL = "byteplus/dreamina-seedance-2-0-260128"
"""A model that ignores them, so that only the tag tells its tasks apart."""

NOW = 1_800_000_000.0

BELIEVED = Beliefs(Belief.EARNED, Belief.EARNED)


def unclear(
    name: str = "a",
    *,
    tag: int | None = 7,
    seed: int | None = 1,
    believed: bool = True,
    model: str = MODEL,
    state: TaskState = TaskState.AMBIGUOUS,
    at: float = NOW,
    request: dict[str, JsonValue] | None = None,
) -> Unclear:
    """An attempt of a task called `name`, intended at the server time `at`."""
    attempt = AttemptRow(
        seq=1,
        id=name,
        identity=name * 8,
        run_id="r1",
        reason=Reason.RUN,
        origin="https://api.example",
        key_hash="k",
        model=model,
        seed=seed,
        tag=tag,
        body_sha256=name * 8,
        server_time=at,
        intended_at=at,
        state=state,
        verdict=Verdict.AMBIGUOUS,
        evidence=None,
        resolution=None,
        resolution_evidence=None,
        remote_id=None,
        accepted_at=None,
        generation=None,
        error_code="",
        error_message="",
        estimate_micros=None,
        cost_micros=None,
    )
    belief = BELIEVED if believed else Beliefs()
    return Unclear(attempt, name, request or {"model": model}, belief, MESH)


def row(
    remote_id: str = "t-1",
    *,
    tag: int | None = 7,
    seed: int | None = 1,
    model: str = MODEL,
    at: float | None = NOW + 1,
    **echo: JsonValue,
) -> Generation:
    """A row of the list; None is a null in the answer."""
    if seed is not None:
        echo["seed"] = seed
    return Generation(
        id=remote_id,
        status=GenerationStatus.RUNNING,
        raw_status="running",
        model=model,
        created_at=at,
        echo=echo,
        tag=tag,
    )
