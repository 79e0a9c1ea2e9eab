"""Readable, safe pieces of file names.

Not python-slugify's, which spells every script in Latin letters: output paths would change, and read worse.
"""

from __future__ import annotations

import functools
import re
import unicodedata

MOST_BYTES = 120
"""Of one slug in UTF-8: what an expression may add to a path."""

# Windows's names of devices. callsheet does not run there, but paths of taken videos hold `con_`.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
)
_RATIO = re.compile(r"(?<=\d):(?=\d)")
_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_RUNS = re.compile(r"-{2,}")
_DOTS = re.compile(r"\.{2,}")


@functools.lru_cache(maxsize=4096)
def slug(text: str, most_bytes: int = MOST_BYTES) -> str:
    """`text` as one file-name component: NFC, no separators, spaces, or controls.

    Letters, digits and symbols of every script stay, `16:9` becomes `16x9`, all else becomes `-`.
    Empty if nothing is left.
    """
    if len(text) <= most_bytes and _PLAIN.fullmatch(text) and text.casefold() not in _DEVICES:
        return str(text)
    normal = unicodedata.normalize("NFC", text)
    mapped = "".join(character if _is_safe(character) else "-" for character in _RATIO.sub("x", normal))
    joined = _DOTS.sub(".", _RUNS.sub("-", mapped))
    short = cut(joined.strip("-."), most_bytes)
    stem, dot, rest = short.partition(".")
    return cut(f"{stem}_{dot}{rest}", most_bytes) if stem.casefold() in _DEVICES else short


def _is_safe(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in "-_."
    return unicodedata.category(character)[0] in "LNMS"


def cut(text: str, most_bytes: int) -> str:
    """A slug cut to `most_bytes` in UTF-8, between two characters."""
    return text.encode()[:most_bytes].decode(errors="ignore").rstrip("-.")
