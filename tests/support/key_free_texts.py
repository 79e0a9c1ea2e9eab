"""Texts for property tests."""

from __future__ import annotations


def looks_like_no_key(text: str) -> bool:
    """What looks like an API key is refused wherever it stands; hypothesis knows such words from our code."""
    return not any(each in text for each in ("sk_", "sk-", "r8_", "key-"))
