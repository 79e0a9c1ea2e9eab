"""How much room text takes in a terminal."""

from __future__ import annotations

import unicodedata

_WIDE = frozenset("WF")
_COMBINING = frozenset({"Mn", "Me", "Cf"})


def width(text: str) -> int:
    """Columns that `text` takes: two for a wide character, none for one that joins the one before.

    By Unicode's East Asian Width (UAX 11), which terminals follow.
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def cut_left(text: str, columns: int) -> str:
    """The end of `text` that fits into so many columns."""
    used = 0
    for start in range(len(text), 0, -1):
        used += _columns(text[start - 1])
        if used > columns:
            return text[start:]
    return text


def cut_right(text: str, columns: int) -> str:
    """The beginning of `text` that fits into so many columns."""
    used = 0
    for end, character in enumerate(text):
        used += _columns(character)
        if used > columns:
            return text[:end]
    return text


def _columns(character: str) -> int:
    if unicodedata.category(character) in _COMBINING:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
