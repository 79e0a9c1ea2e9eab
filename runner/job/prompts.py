"""Prompts that were never filled in: another tool's placeholder, or a file's name in place of its text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.json_value import JsonValue
from runner.spelling import nearest

_PLACEHOLDERS = r"""
      \$?\{\{-?\s*(?P<double>[^{}]{0,80}?)\s*-?\}\}   # {{ prompt }}: Jinja, Mustache
    | \$\{\s*(?P<shell>[^{}]{0,80}?)\s*\}             # ${prompt}: shells, JavaScript
    | [\#%@]\{\s*(?P<ruby>[A-Za-z_][^{}]{0,80}?)\s*\} # #{prompt}: Ruby
    | (?<![\w$])\$(?P<variable>[A-Za-z_]\w{0,40}(?:\.\w{1,40}){0,4})   # $PROMPT: shells; not $5, not A$AP
    | \$\(\s*(?P<command>[A-Za-z][^()]{0,80}?)\s*\)     # $(cat prompt.txt): shells, make
    | (?<![\w%])%\((?P<percent>\w{1,80})\)[a-z]         # %(prompt)s: Python
    | (?<![\w%])%(?P<windows>[A-Za-z_]\w{0,80})%        # %PROMPT%: Windows
    | (?<![\w%])%[sd](?!\w)                             # %s: C
    | \{\s*(?P<single>(?:[A-Za-z_][\w.\[\]]{0,80}|\d{0,2}))\s*   # {prompt}: Python
      (?:![a-z])?(?::[\w.<>^]{0,10})?\}
    | \{[^{}|]{0,80}(?:\|[^{}|]{1,80})+\}               # {red|blue}: wildcards of other tools
    | \{%.{0,80}?%\} | <%.{0,80}?%>                     # Jinja's and ERB's statements
    | <(?P<angle>[A-Z][A-Z0-9_]{2,80}|(?i:insert|your)[\ _-][\w\ -]{1,80})>   # <PROMPT>
    | \A\s*<\s*(?P<pointed_alone>(?i:(?:my\ )?(?:prompt|text|shot|scene|description)))\s*>\s*\Z   # <prompt>
    | \A\s*@(?P<at>[A-Za-z_]\w{0,80})\s*\Z                               # @prompt, and nothing else
    | (?<!\w)__(?P<dunder>[A-Za-z]\w{0,80}?)__(?!\w)    # __PROMPT__
    | \[\[\s*(?P<square>[\w.\ -]{1,80}?)\s*\]\]          # [[prompt]]
    | <<\s*(?P<pointed>[\w.\ -]{1,80}?)\s*>>           # <<prompt>>
    | \[(?i:insert|your|todo|tbd|placeholder|prompt)\b[^\[\]]{0,80}\]       # [YOUR PROMPT HERE]
    | \A\s*(?:TODO|TBD|FIXME|XXX|(?i:lorem\ ipsum))\b
    """
_MAY_HOLD_ONE = re.compile(r"[{$%<\[@]|__|TODO|TBD|FIXME|XXX|[lL]orem")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")

_MARK = re.compile(r"file:(?:/{2,3})?|@|<|!?(?:include|file|from)[:\s(\"']+")
_HAS_SUFFIX = re.compile(r"[\w)]\.[A-Za-z]\w{0,9}\Z")
_OF_TEXT = re.compile(r"(?i)\S+\.(?:txt|text|md|markdown|prompt|csv|tsv|jsonl?|ya?ml|docx?|rtf)")

_LONGEST = 300
"""Characters of a text that may be a path."""


@dataclass(frozen=True, slots=True)
class Unfilled:
    """`message` and `hint` about one prompt."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job file stands: prompts name files relative to it. Below `root` alone are any looked for."""

    root: Path
    directory: Path


def has_placeholder(text: str) -> bool:
    """Whether a text holds another tool's placeholder."""
    return _placeholder_in(text) is not None


def find_unfilled(text: str, names: Mapping[str, JsonValue], place: Place | None) -> Iterator[Unfilled]:
    """What in a prompt is not its text. `names` are those that an expression may use, with their values."""
    if (found := _placeholder_in(text)) is not None:
        shown = " ".join(found[0].split())
        inner = next((part for part in found.groups() if part), "")
        told = f"`{shown}` is not filled in: it would be sent, and paid for, as it stands"
        values = dict(path for name, value in names.items() for path in _paths(name, value))
        # an expression within a value of an axis would not be evaluated
        is_in_value = any(isinstance(value, str) and found[0] in value for value in values.values())
        yield Unfilled(told, "write the text itself" if is_in_value else _expression(inner, list(values)))
    elif (path := _file_named(text, place)) is not None:
        yield Unfilled(
            f"`{' '.join(text.split())}` is a file's name, and would be sent, and paid for, as it stands",
            f"text: {{from: {path}}}",
        )
    elif (side := _stray_quote(text)) is not None:
        yield Unfilled(
            f"the quote at its {side} has no other: it would be sent, and paid for, as it stands",
            "delete it, or put quotes around the whole text",
        )


def _stray_quote(text: str) -> str | None:
    """`beginning` or `end`, where a text has one double quote, and has it there; not behind inches."""
    whole = text.strip()
    if whole.count('"') != 1:
        return None
    if whole.startswith('"'):
        return "beginning"
    return "end" if whole.endswith('"') and not whole[-2:-1].isdigit() else None


def _placeholder_in(text: str) -> re.Match[str] | None:
    return _placeholders().search(text) if _MAY_HOLD_ONE.search(text) else None


@functools.cache
def _placeholders() -> re.Pattern[str]:
    """Compiled when a text may hold one: it takes 5 ms."""
    return re.compile(_PLACEHOLDERS, re.VERBOSE)


def _expression(inner: str, known: list[str]) -> str:
    """How the value is written that a placeholder may mean, one of the `known` names."""
    if not inner:
        return "write the text itself"
    wanted = inner.strip("$. ")
    if wanted in known:
        return f'"${{{{ {wanted} }}}}"'
    by_last = {path.rpartition(".")[2].casefold(): path for path in reversed(known)}
    last = wanted.rpartition(".")[2].casefold()
    words = (by_last[word] for word in re.findall(r"\w+", last) if word in by_last)
    near = (
        by_last.get(last)
        or next(words, "")
        or nearest(wanted.casefold(), known)
        or by_last.get(nearest(last, by_last))
    )
    if near:
        return f'"${{{{ {near} }}}}"'
    name = last if _NAME.fullmatch(last) else "prompt"
    return f'write the text itself, or "${{{{ vars.{name} }}}}" with `vars: {{{name}: ...}}`'


def _paths(name: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """The names of a value's texts and numbers, each with the value."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, part in value.items():
        if _NAME.fullmatch(key):
            yield from _paths(f"{name}.{key}", part)


def _file_named(text: str, place: Place | None) -> str | None:
    """The path of the file that the whole of a prompt names; None where it names none."""
    whole = text.strip() if len(text) <= _LONGEST else ""
    found = _MARK.match(whole)
    mark, path = (found[0], whole[found.end() :].strip("\"') ")) if found is not None else ("", whole)
    if not path or "\n" in path:
        return None
    if mark.startswith("file:/"):
        return path
    has_suffix = _HAS_SUFFIX.search(path) is not None
    is_one_word = not any(map(str.isspace, path))
    if has_suffix and is_one_word and (mark or _OF_TEXT.fullmatch(path)):
        return path
    if place is None or not (mark or "/" in path or has_suffix):
        return None
    return path if _is_file(path, place) else None


def _is_file(path: str, place: Place) -> bool:
    """Whether there is such a file below the root; none outside it is looked for."""
    try:
        found = (place.directory / path).resolve()
        return found.is_relative_to(place.root) and found.is_file()
    except (OSError, ValueError, RuntimeError):
        return False
