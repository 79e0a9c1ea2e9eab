"""Calls to our webhook: only those that fal signed lately are hints."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from runner.http.verdicts import ProviderError
from runner.providers.fal.signature import KEYS_LIVE, NEWER_AFTER, is_current, read_keys, verify
from tests.support.fal_clients import fal_at
from tests.support.provider_clients import NOW
from tests.support.wire_server import answer, answering

OURS, FOREIGN = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
BODY = b'{"status":"OK"}'


def jwks(*keys: Ed25519PrivateKey) -> dict[str, Any]:
    raw = [key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for key in keys]
    text = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in raw]
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": each} for each in text]}


def signed(key: Ed25519PrivateKey = OURS, body: bytes = BODY, at: float = NOW) -> dict[str, str]:
    said = ["r-1", "user", str(int(at))]
    message = "\n".join([*said, hashlib.sha256(body).hexdigest()]).encode()
    names = ("request-id", "user-id", "timestamp", "signature")
    values = (*said, key.sign(message).hex())
    return {f"x-fal-webhook-{name}": value for name, value in zip(names, values, strict=True)}


@pytest.mark.anyio
@pytest.mark.fault(97)
async def test_only_a_call_that_is_signed_by_a_published_key_counts() -> None:
    """The keys are asked for once: what does not fit lately asked ones is not fal's."""
    right = signed()
    wrong: list[dict[str, str]] = [
        {},
        signed(FOREIGN),
        signed(body=b"other"),
        signed(at=NOW - 301),
        signed(at=NOW + 301),
        {**right, "x-fal-webhook-request-id": "r-2"},
        {**right, "x-fal-webhook-timestamp": str(int(NOW) + 1)},
        {**right, "x-fal-webhook-timestamp": "soon"},
        {**right, "x-fal-webhook-signature": "zz"},
        {**right, "x-fal-webhook-signature": ""},
        {**right, "x-fal-webhook-user-id": ""},
    ]
    with answering(answer(200, jwks(OURS))) as server:
        async with fal_at(server.origin) as fal:
            assert await fal.is_signed(right, BODY)
            for headers in wrong:
                assert not await fal.is_signed(headers, BODY), headers
            assert await fal.is_signed(signed(at=NOW - 299), BODY)
    assert len(server.requests) == 1
    assert server.requests[0].startswith(b"GET /.well-known/jwks.json ")


@pytest.mark.anyio
@pytest.mark.fault(97)
async def test_newer_keys_are_asked_for_after_a_while_and_old_ones_are_dropped_after_a_day() -> None:
    now = [NOW]
    with answering(
        answer(200, jwks(OURS)), answer(200, jwks(FOREIGN)), answer(200, jwks(FOREIGN, OURS))
    ) as server:
        async with fal_at(server.origin, lambda: now[0]) as fal:
            assert await fal.is_signed(signed(), BODY)
            now[0] += NEWER_AFTER
            assert await fal.is_signed(signed(FOREIGN, at=now[0]), BODY)
            assert not await fal.is_signed(signed(at=now[0]), BODY)
            now[0] += KEYS_LIVE
            assert await fal.is_signed(signed(at=now[0]), BODY)
    assert len(server.requests) == 3


@pytest.mark.anyio
async def test_keys_that_cannot_be_asked_for_are_told() -> None:
    with answering(answer(503, "")) as server:
        async with fal_at(server.origin) as fal:
            with pytest.raises(ProviderError):
                await fal.is_signed(signed(), BODY)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"keys": {}},
        {"keys": [{"crv": "P-256", "x": "AA"}, {"crv": "Ed25519", "x": "AA"}, {"x": 7}, 7, {"x": "\u00e9"}]},
    ],
)
def test_a_set_without_a_usable_key_is_refused(document: Any) -> None:
    with pytest.raises(ProviderError, match="no key"):
        read_keys(document)


@given(st.dictionaries(st.sampled_from([*signed()]), st.text(max_size=200)), st.binary(max_size=50))
def test_any_headers_are_refused_without_an_exception(headers: dict[str, str], body: bytes) -> None:
    assert not verify(read_keys(jwks(OURS)), headers, body)
    is_current(headers, NOW)
