"""A webhook wakes the poller and proves nothing: end to end over real sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import httpx
import pytest

from runner.errors import ExitCode, UsageError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import WebhookPolicy
from runner.ledger.states import TaskState
from runner.run.task.webhook import MOST_BODY, Hints, receiver
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def webhook_job(*, seeds: int, first: str = "20ms", longest: str = "30s", concurrency: int = 64) -> str:
    port = free_port()
    webhook = f'webhook: {{public_url: "http://127.0.0.1:{port}/hooks", listen: "127.0.0.1:{port}"}}'
    poll = f"poll: {{first: {first}, min: 20ms, max: {longest}}}"
    text = job_text(seeds=seeds, run=f"{webhook}, concurrency: {concurrency}, submit_slots: 16")
    return text.replace("poll: {first: 20ms, min: 20ms, max: 50ms}", poll)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, Hints]]:
    port = free_port()
    policy = WebhookPolicy(f"http://127.0.0.1:{port}/x/", f"127.0.0.1:{port}")
    async with receiver(policy, b"secret") as hints:
        assert hints is not None
        yield f"http://127.0.0.1:{port}", hints


async def post(url: str, content: bytes = b"{}") -> httpx.Response:
    async with httpx.AsyncClient(verify=False) as client:
        for _ in range(100):
            try:
                return await client.post(url, content=content)
            except httpx.ConnectError:
                await anyio.sleep(0.02)
        raise AssertionError("the receiver never listened")


async def waits(hints: Hints, attempt: str, seconds: float) -> bool:
    with anyio.fail_after(60):
        return await hints.wait(attempt, seconds)


@pytest.mark.security(19)
async def test_a_call_ends_the_wait_of_its_own_task_alone() -> None:
    async with listening() as (_, hints):
        url = hints.callback_url("attempt-1")
        hints.callback_url("attempt-2")
        assert (await post(url)).status_code == 204
        assert await waits(hints, "attempt-1", 5)
        assert not await waits(hints, "attempt-2", 0.01)


@pytest.mark.security(19)
async def test_a_hit_a_miss_and_junk_get_the_same_answer() -> None:
    async with listening() as (base, hints):
        hit = await post(hints.callback_url("attempt-1"))
        for url in (f"{base}/x/{'0' * 32}", f"{base}/", f"{base}/x/%ff%00"):
            miss = await post(url, b"\xff" * 100)
            assert (miss.status_code, miss.content) == (hit.status_code, hit.content)
            assert set(miss.headers) == set(hit.headers)


@pytest.mark.security(19)
async def test_paths_are_128_bits_that_a_restart_finds_again() -> None:
    first, again = Hints("http://h", b"secret"), Hints("http://h", b"secret")
    other = Hints("http://h", b"another")
    urls = {first.callback_url(str(number)) for number in range(1000)}
    assert len(urls) == 1000
    assert all(len(url.rpartition("/")[2]) == 32 for url in urls)
    assert again.callback_url("1") in urls
    assert other.callback_url("1") not in urls


@pytest.mark.fault(46)
async def test_a_huge_call_is_no_hint() -> None:
    async with listening() as (_, hints):
        url = hints.callback_url("attempt-1")
        assert (await post(url, b"x" * (MOST_BODY + 1))).status_code == 204
        assert not await waits(hints, "attempt-1", 0.01)


async def test_an_early_call_is_remembered_until_somebody_waits() -> None:
    async with listening() as (_, hints):
        await post(hints.callback_url("attempt-1"))
        await post(hints.callback_url("attempt-1"))
        assert await waits(hints, "attempt-1", 5)
        assert not await waits(hints, "attempt-1", 0.01)
        hints.forget("attempt-1")


async def test_an_address_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match="cannot listen there"):
            async with receiver(WebhookPolicy("https://h", listen), b"s"):
                pass


async def test_a_run_of_50_tasks_needs_at_most_two_looks_at_each(tmp_path: Path) -> None:
    """Each result is noticed by its call; docs/how-to/webhooks.md has the delay on a quiet machine."""
    with SandboxServer(SandboxConfig(latency=(0.5, 1.5), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        seen: dict[str, float] = {}
        wall = bench.wall
        bench.tell = lambda name, fields: (
            seen.setdefault(str(fields["task"]), wall())
            if name == "task.status" and fields.get("status") == "succeeded"
            else None
        )
        result = await bench.run(bench.write_job(webhook_job(seeds=50, first="30s")))
        assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 50)
        stats = httpx.get(f"{server.url}/_sandbox/stats").json()
        assert stats["gets"] <= 2 * 50
        ended = {f"s{task.request['seed']}": task.finished_at for task in server.tasks()}
        delays = sorted(seen[name] - ended[name] for name in ended)
        print(f"from done to noticed: median {delays[25]:.3f} s, longest {delays[-1]:.3f} s")
        # by the calls, that is: the safety net is 300 s away, and no time of a busy machine proves less
        assert delays[-1] < 60


@pytest.mark.fault(46)
@pytest.mark.parametrize("kind", [Kind.DROP, Kind.REPEAT, Kind.EARLY, Kind.FORGE, Kind.HUGE])
async def test_whatever_calls_come_the_run_ends_right(tmp_path: Path, kind: Kind) -> None:
    with SandboxServer(SandboxConfig(latency=(0.1, 0.3), scale=0.1)) as server:
        server.faults.add(
            Fault(where=Where.WEBHOOK, kind=kind, times=None, count=100_000 if kind is Kind.HUGE else 3)
        )
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        result = await bench.run(bench.write_job(webhook_job(seeds=4, longest="50ms")))
        assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 4)
        assert server.accepted == 4


@pytest.mark.security(19)
async def test_where_a_service_signs_its_calls_an_unsigned_one_is_no_hint() -> None:
    """A signed one is a hint and no more; whoever calls gets the same answer."""

    async def is_signed(headers: Mapping[str, str], body: bytes) -> bool:
        if headers.get("x-signature") == "unknown":
            raise ProviderError(Trouble.UNREACHABLE, "no keys")
        return headers.get("x-signature") == "good" and body == b'{"status": "OK"}'

    async with listening() as (_, hints), httpx.AsyncClient() as client:
        url = hints.callback_url("attempt-1", is_signed)
        await post(url)
        for signature, body in (("bad", b"{}"), ("good", b'{"status": "NO"}'), ("unknown", b"{}")):
            told = await client.post(url, content=body, headers={"X-Signature": signature})
            assert told.status_code == 204
        assert not await waits(hints, "attempt-1", 0.05)
        await client.post(url, content=b'{"status": "OK"}', headers={"X-Signature": "good"})
        assert await waits(hints, "attempt-1", 5)
        # an attempt of an earlier process: its URL is as it was
        assert not await hints.wait("attempt-2", 0.0, is_signed)
        await post(hints.callback_url("attempt-2"))
        assert not await waits(hints, "attempt-2", 0.05)
