"""What the tests of the providers share: a key that must never show, and short patience."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpcore
import trustme

from runner.http.access import Access, ApiKey
from runner.http.free import FreeLimits, FreeRequests
from runner.http.paid import PaidRequests, SubmitLimits
from runner.http.transport import Guard, Transport, always, open_client
from runner.http.verdicts import Reaction, SubmitOutcome, Verdict
from runner.providers.base import Body
from runner.providers.mesh import MESH
from runner.providers.mesh.client import MeshClient

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
    origin: str,
    *,
    limits: SubmitLimits = PATIENT,
    free_limits: FreeLimits = PATIENT_FREE,
    keepalive: float = 1.0,
    guard: Guard = always,
) -> AsyncIterator[MeshClient]:
    """A MeshClient on real connections to `origin`, its wall clock standing at NOW."""
    access = Access(origin, KEY)
    async with open_client(Transport(tls=trusts_nothing(), keepalive=keepalive)) as client:
        free = FreeRequests(access, client, free_limits, wall=lambda: NOW)
        yield MeshClient(PaidRequests(access, client, limits, guard), free, wall=lambda: NOW)


@contextlib.asynccontextmanager
async def posts_to(
    origin: str,
    *,
    key: ApiKey = KEY,
    limits: SubmitLimits = PATIENT,
    tls: ssl.SSLContext | None = None,
    network_backend: httpcore.AsyncNetworkBackend | None = None,
) -> AsyncIterator[PaidRequests]:
    """Paid requests to `origin`, over connections of their own."""
    transport = Transport(tls=tls or trusts_nothing(), network_backend=network_backend)
    async with open_client(transport) as client:
        yield PaidRequests(Access(origin, key), client, limits)


async def submit(origin: str, body: bytes = BODY, limits: SubmitLimits = PATIENT) -> SubmitOutcome:
    async with mesh_at(origin, limits=limits) as mesh:
        return await mesh.submit(Body(MESH.dialect.path, body))


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
