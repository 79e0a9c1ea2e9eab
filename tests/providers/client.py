"""What the tests of the providers share: a key that must never show, and short patience."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import trustme

from runner.job.task import InputFile, Task
from runner.providers.access import Access, ApiKey
from runner.providers.base import Reaction, SubmitOutcome, Verdict
from runner.providers.http import FreeLimits, FreeRequests, free_client
from runner.providers.mesh import MeshProvider
from runner.providers.submit import SubmitLimits, SubmitTransport

KEY = ApiKey("rsk_canary_0123456789")
NOW = 1_790_000_000.0
GOLDEN = Path(__file__).parent.parent / "wire" / "mesh"
BODY = b'{"model":"m","content":[{"type":"text","text":"a teapot"}]}'
PATIENT = SubmitLimits(connect=5, write=5, read=5, total=10)
PATIENT_FREE = FreeLimits(connect=5, read=5, total=10)


def trusts_nothing() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def server_context(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = trusts_nothing()
    authority.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def mesh_at(
    origin: str, *, limits: SubmitLimits = PATIENT, free_limits: FreeLimits = PATIENT_FREE
) -> AsyncIterator[MeshProvider]:
    """A MeshProvider on real connections to `origin`, its wall clock standing at NOW."""
    access, tls = Access(origin, KEY), trusts_nothing()
    async with (
        SubmitTransport(access, limits, tls=tls) as submits,
        free_client(free_limits, tls=tls) as client,
    ):
        free = FreeRequests(access, client, free_limits, wall=lambda: NOW)
        yield MeshProvider(submits, free, wall=lambda: NOW)


def make_task(request: dict[str, object], *inputs: InputFile) -> Task:
    return Task(
        identity="ab" * 32,
        index=0,
        step="",
        name="one",
        cell={},
        provider="mesh",
        origin="https://api.meshapi.ai",
        edition="",
        model=str(request.get("model", "")),
        seed=None,
        sample=None,
        request=request,  # type: ignore[arg-type]
        inputs=inputs,
        output="out/one.mp4",
    )


async def submit(origin: str, body: bytes = BODY, limits: SubmitLimits = PATIENT) -> SubmitOutcome:
    async with mesh_at(origin, limits=limits) as mesh:
        return await mesh.submit(body)


def assert_not_sent(outcome: SubmitOutcome, row: int, reaction: Reaction = Reaction.BACK_OFF) -> None:
    assert (outcome.verdict, outcome.reaction) == (Verdict.NOT_SENT, reaction)
    assert outcome.evidence.row == row
    assert outcome.evidence.headers_begun is False


def assert_ambiguous(outcome: SubmitOutcome, *rows: int) -> None:
    assert (outcome.verdict, outcome.reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)
    assert outcome.evidence.row in rows
    assert outcome.evidence.headers_begun is True
    assert outcome.remote_id == ""


def assert_rejected(outcome: SubmitOutcome, row: int, reaction: Reaction) -> None:
    assert (outcome.verdict, outcome.reaction) == (Verdict.REJECTED, reaction)
    assert outcome.evidence.row == row
