"""An interrupted and resumed run leaves the manifest of an uninterrupted one, but for times and ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio

IDS_AND_TIMES = frozenset(
    {
        "id",
        "run_id",
        "request_id",
        "remote_id",
        "attempt",
        "at",
        "started_at",
        "ended_at",
        "finished_at",
        "intended_at",
        "accepted_at",
        "server_time",
        "origin",
        "identity",
    }
)
"""Ids of ours and of the service, times, and what holds the sandbox's port."""

DRAWN = frozenset({"tag", "body_sha256", "execution_expires_after", "key"})
"""What follows from the random tag, and the salted hash of the key."""


def essence(value: Any) -> Any:
    """A manifest without what may differ: ids, times, and the statuses that a look happened to see."""
    if isinstance(value, dict):
        return {
            name: essence(part)
            for name, part in value.items()
            if name not in IDS_AND_TIMES | DRAWN | {"sessions"}
        }
    if isinstance(value, list):
        return [
            essence(part)
            for part in value
            if not (isinstance(part, dict) and "status" in part and "at" in part)
        ]
    return value


async def test_a_resumed_run_leaves_the_same_manifest(tmp_path: Path) -> None:
    text = job_text(seeds=6, run="concurrency: 3", more="x-note: resumed").replace(
        "duration: 4", "duration: 4, return_last_frame: true"
    )
    with SandboxServer(SandboxConfig(latency=(0.05, 0.1), scale=0.1)) as quick:
        straight = RunBench(root=tmp_path / "straight", url=quick.url, key=SANDBOX_KEY)
        result = await straight.run(straight.write_job(text))
        assert result.exit_code is ExitCode.DONE
    with SandboxServer(SandboxConfig(latency=(0.15, 0.2), scale=0.1)) as slow:
        broken = RunBench(root=tmp_path / "broken", url=slow.url, key=SANDBOX_KEY)
        file = broken.write_job(text)
        first = await broken.run(file, until=lambda: slow.accepted == 3)
        assert first.exit_code is ExitCode.TRY_AGAIN
        last = await broken.run(file)
        assert (last.exit_code, last.run_id) == (ExitCode.DONE, first.run_id)
        assert slow.accepted == 6
    one, other = straight.manifest(), broken.manifest()
    assert len(one["run"]["sessions"]) == 1  # type: ignore[index, call-overload]
    assert len(other["run"]["sessions"]) == 2  # type: ignore[index, call-overload]
    assert essence(one) == essence(other)
    assert all(len(task["outputs"]) == 2 for task in one["tasks"])  # type: ignore[attr-defined]
