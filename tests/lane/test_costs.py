"""Money from the plan to the manifest: caps, prices, what was billed, and drift."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode, RefusedError
from runner.lane.costs import has_drifted, note_cost
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Drift, Intent
from runner.ledger.states import Reason
from runner.money import Price, PriceUnit
from runner.plan import cost
from runner.providers.base import Generation, GenerationStatus
from runner.providers.mesh import MESH
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.ledger_rows import RUN, SENT, task
from tests.support.run_bench import RunBench, job_text


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.02), scale=0.1)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(root=tmp_path, url=server.url, key=f"{SANDBOX_KEY}{abs(hash(tmp_path))}")


TOKENS = 39_285
"""97 frames at 864x480."""


@pytest.mark.anyio
async def test_estimate_and_actual_cost_stand_in_the_manifest(bench: RunBench) -> None:
    file = bench.write_job(job_text(seeds=1, more="price: {usd_per_mtok: 2.5}"))
    result = await bench.run(file)
    assert result.exit_code is ExitCode.DONE
    manifest: dict[str, Any] = bench.manifest(result.run_id or "")
    [entry] = manifest["tasks"]
    assert entry["usage"]["completion_tokens"] == TOKENS
    assert entry["estimate"]["tokens"] == TOKENS
    [attempt] = entry["attempts"]
    assert attempt["price"] == {"usd_per_mtok": "2.5"}
    assert attempt["cost_usd"] == "0.098213"
    assert manifest["usage"]["compared"]["tasks"] == 1
    assert not [name for name, _ in bench.events if name == "run.cost_drift"]


@pytest.mark.anyio
async def test_a_cap_in_dollars_holds(bench: RunBench, server: SandboxServer) -> None:
    before = server.accepted
    more = "price: {usd_per_task: 0.4}\nbudget: {max_usd: 1}"
    result = await bench.run(bench.write_job(job_text(seeds=5, more=more)))
    assert result.exit_code is ExitCode.REFUSED
    assert server.accepted - before == 2


@pytest.mark.anyio
async def test_a_cap_without_a_price_refuses_and_sends_nothing(
    bench: RunBench, server: SandboxServer
) -> None:
    before = server.accepted
    with pytest.raises(RefusedError, match="usd_per_second"):
        await bench.run(bench.write_job(job_text(seeds=1, more="budget: {max_usd: 1}")))
    assert server.accepted == before


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db")
    with opened.transaction():
        opened.begin_run(RUN)
    yield opened
    opened.close()


def ended(status: GenerationStatus = GenerationStatus.SUCCEEDED, **words: Any) -> Generation:
    return Generation(id="t-1", status=status, raw_status=str(status), **words)


FAILED = GenerationStatus.FAILED
MTOK, SECOND, TASK = (
    Price(unit, Decimal(usd)) for unit, usd in zip(PriceUnit, ("7.0", "0.05", "0.4"), strict=True)
)


@pytest.mark.parametrize(
    ("price", "generation", "micros"),
    [
        (MTOK, ended(billed_tokens=108_900), 762_300),
        (MTOK, ended(), None),
        (MTOK, ended(billed_tokens=0), None),
        (SECOND, ended(echo={"frames": -240}), None),
        (MTOK, ended(billed_tokens=108_900, cost_usd="0.25"), 250_000),
        (None, ended(billed_tokens=108_900), None),
        (None, ended(cost_usd="0.2500001"), 250_001),
        (None, ended(cost_usd="0"), None),
        (TASK, ended(cost_usd="0.000"), 400_000),
        (TASK, ended(FAILED, cost_usd="0"), 0),
        (SECOND, ended(echo={"duration": 6}), 300_000),
        (SECOND, ended(), None),
        (TASK, ended(), 400_000),
        (TASK, ended(FAILED), None),
        (MTOK, ended(FAILED), None),
        (MTOK, ended(FAILED, billed_tokens=0), 0),
    ],
)
def test_what_an_ended_generation_cost(
    ledger: Ledger, price: Price | None, generation: Generation, micros: int | None
) -> None:
    intent = Intent("attempt-1", Reason.RUN, "mesh", "key", 1, "b" * 64, 999.0, 1, price)
    with ledger.transaction():
        attempt = ledger.intend(task(1), RUN.job_file, RUN.id, intent, Caps(), 1.0)
        ledger.accept(attempt, "t-1", SENT, 2.0)
        note_cost(ledger, MESH, attempt, generation)
    found = ledger.read.attempt(attempt)
    assert found is not None
    assert found.cost_micros == micros


@pytest.mark.parametrize(
    ("drift", "is_told"),
    [
        (Drift(0, 0, 0), False),
        (Drift(1, 100, 110), False),
        (Drift(1, 100, 111), True),
        (Drift(1, 100, 89), True),
        (Drift(1, 0, 1), True),
    ],
)
def test_drift_is_more_than_a_tenth(drift: Drift, is_told: bool) -> None:
    assert has_drifted(drift) is is_told


@pytest.mark.anyio
async def test_a_drift_is_an_event(bench: RunBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price list that has changed: the estimate reckons with half of the tokens that are billed."""
    monkeypatch.setattr("runner.plan.cost._PIXELS_PER_TOKEN", 2048)
    cost._estimate.cache_clear()
    file = bench.write_job(job_text(seeds=1, more="price: {usd_per_mtok: 2.5}"))
    await bench.run(file)
    cost._estimate.cache_clear()
    [fields] = [fields for name, fields in bench.events if name == "run.cost_drift"]
    assert fields == {"tasks": 1, "estimate_usd": "0.049108", "cost_usd": "0.098213"}
