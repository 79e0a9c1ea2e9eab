"""Which of the known names a misspelt one may mean."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

_MOST = 64
"""Characters that are compared: the time grows with the square of their number."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """The choice that is spelled most like `name`; empty if none is close."""
    return next(iter(alike(name, choices)), "")


def alike(name: str, choices: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """The choices that are spelled like `name`, the most alike first, at most `most`.

    One that differs in case, in `-` and `_`, or in letters of another script alone comes before all others.
    """
    name = name[:_MOST]
    known = list(choices)
    same = [choice for choice in known if _is_disguised(name, choice)]
    folded = {choice.casefold(): choice for choice in known if choice not in same}
    near = difflib.get_close_matches(_folded(name), folded, n=most, cutoff=cutoff)
    return [*same, *(folded[each] for each in near)][:most]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _bare(name: str) -> str:
    """The name without what people write differently: case, `-`, `_`, invisible characters."""
    return "".join(c for c in _folded(name) if c not in "-_ " and unicodedata.category(c) != "Cf")


def _is_disguised(name: str, choice: str) -> bool:
    """Whether the two read alike: the same bare letters, or other ones only where `name` leaves ASCII."""
    bare, other = _bare(name), _bare(choice)
    if bare == other:
        return True
    if bare.isascii() or len(bare) != len(other):
        return False
    agree = sum(a == b for a, b in zip(bare, other, strict=True))
    return agree * 2 >= len(bare) and all(a == b or not a.isascii() for a, b in zip(bare, other, strict=True))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` for a near miss, else empty."""
    near = nearest(name, choices)
    return f"did you mean `{near}`?" if near else ""


def disguise(name: str) -> str:
    """What only looks as it should in a name: ``its `x` is U+0445 CYRILLIC SMALL LETTER HA``; or empty."""
    if not any(c.isascii() and c.isalpha() for c in name):
        return ""
    odd = next((c for c in name if not c.isascii()), "")
    return f"its `{odd}` is {name_of(odd)}" if odd else ""


def name_of(character: str) -> str:
    """A character that a person cannot tell by its looks: `U+00A0 NO-BREAK SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"
