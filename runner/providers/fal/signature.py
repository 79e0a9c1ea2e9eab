"""Whether a call to our webhook is fal's: ED25519, by the keys that it publishes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from runner.http.answers import parse_number
from runner.http.verdicts import ProviderError, Trouble
from runner.json_value import JsonValue

CLOCKS_DIFFER: Final = 300.0
"""Seconds by which a call's time may differ from ours."""
KEYS_LIVE: Final = 86_400.0
"""Seconds for which published keys may be kept."""
NEWER_AFTER: Final = 300.0
"""Seconds after which a call that no key fits may make us ask for newer ones: whoever sends nonsense does not
decide how often fal is asked."""
MOST_KEYS: Final = 16

_PREFIX = "x-fal-webhook-"
_SIGNED = ("request-id", "user-id", "timestamp")

Fetch = Callable[[], Awaitable[JsonValue]]
"""Asks for the published keys. Raises ProviderError."""


@dataclass(slots=True)
class KeySet:
    """The keys that fal signs with, each of 32 bytes, and when they were asked for, in Unix seconds."""

    keys: tuple[bytes, ...] = ()
    at: float = field(default=-KEYS_LIVE)

    async def get(self, fetch: Fetch, now: float) -> tuple[bytes, ...]:
        """Keys that are not too old. Raises ProviderError."""
        if not self.keys or not 0 <= now - self.at < KEYS_LIVE:
            await self._ask(fetch, now)
        return self.keys

    async def newer(self, fetch: Fetch, now: float) -> tuple[bytes, ...] | None:
        """Keys asked for again; None where that was done lately. Raises ProviderError."""
        if 0 <= now - self.at < NEWER_AFTER:
            return None
        await self._ask(fetch, now)
        return self.keys

    async def _ask(self, fetch: Fetch, now: float) -> None:
        self.keys, self.at = read_keys(await fetch()), now


def read_keys(document: JsonValue) -> tuple[bytes, ...]:
    """The ED25519 keys of a JSON Web Key Set. Raises ProviderError where there are none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = [_read_key(each) for each in listed[:MOST_KEYS]] if isinstance(listed, list) else []
    keys = tuple(key for key in found if key is not None)
    if not keys:
        raise ProviderError(Trouble.UNAVAILABLE, "the answer holds no key that calls are signed with")
    return keys


def _read_key(each: JsonValue) -> bytes | None:
    if not isinstance(each, dict) or each.get("crv", "Ed25519") != "Ed25519":
        return None
    text = each.get("x")
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return key if len(key) == 32 else None


def is_current(headers: Mapping[str, str], now: float) -> bool:
    """Whether a call was signed within CLOCKS_DIFFER of `now`, by its own word."""
    at = parse_number(headers.get(f"{_PREFIX}timestamp"))
    return at is not None and abs(now - at) <= CLOCKS_DIFFER


def verify(keys: tuple[bytes, ...], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of the keys signed this call; header names are in lower case.

    Raises ProviderError where the library for it is not installed.
    """
    try:
        # imported here: it takes 20 ms, and few runs are called back
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        told = "signed calls cannot be checked; pip install 'callsheet[server]'"
        raise ProviderError(Trouble.WRONG_REQUEST, told) from None

    said = [headers.get(f"{_PREFIX}{name}", "") for name in _SIGNED]
    if not all(said):
        return False
    message = "\n".join([*said, hashlib.sha256(body).hexdigest()]).encode()
    try:
        signature = bytes.fromhex(headers.get(f"{_PREFIX}signature", ""))
    except ValueError:
        return False
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False
