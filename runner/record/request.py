"""What tells a request from another one, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from runner.job.yaml.nodes import show_path
from runner.json_value import JsonValue
from runner.plan.task import STEP_SCHEME
from runner.redact import printable, printable_value

_MOST_SHOWN = 60
_BEFORE, _AFTER = 16, 36
"""Characters of a text that are shown on the two sides of the first that differs."""
_ABSENT = object()
_FEWEST_WORDS, _MOST_WORDS = 6, 2000
"""Of two texts together."""
_MOST_CHANGES = 4
_MOST_CHANGED = 40
"""Characters of words that went or came."""

_Path = tuple[str | int, ...]


def differences(request: Mapping[str, JsonValue], before: Mapping[str, JsonValue]) -> Iterator[str]:
    """A phrase for each place at which `request` is not what `before` was, without secrets.

    `request.duration is 5, was 4`, and of a text its differing part:
    `content[0].text is "...river at...", was "...puddle at..."`.
    """
    for path, now, was in _walk((), request, before):
        # as a person finds it in the job file: content stands beside `request:`, not below it
        place = show_path(path if path[0] == "content" else ("request", *path))
        yield f"{place} {_words(now, was)}"


def changes(request: Mapping[str, JsonValue], before: Mapping[str, JsonValue]) -> Iterator[str]:
    """The same for who has just made them, shorter: of a text the words alone that went and came.

    `request.duration is 5, was 4`, `content[0].text: paper -> tin, + at dusk`.
    """
    for path, now, was in _walk((), request, before):
        place = show_path(path if path[0] == "content" else ("request", *path))
        words = _changed_words(now, was) if isinstance(now, str) and isinstance(was, str) else ""
        yield f"{place}: {words}" if words else f"{place} {_words(now, was)}"


def _changed_words(now: str, was: str) -> str:
    """Empty where the texts have few words, or so many that they take long to compare."""
    new, old = printable(now).split(), printable(was).split()
    if not _FEWEST_WORDS <= len(new) + len(old) <= _MOST_WORDS:
        return ""
    found: list[str] = []
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, False).get_opcodes():
        gone, came = _cut(" ".join(old[start:end])), _cut(" ".join(new[new_start:new_end]))
        match kind:
            case "replace":
                found.append(f"{gone} -> {came}")
            case "insert":
                found.append(f"+ {came}")
            case "delete":
                found.append(f"- {gone}")
    more = ", ..." if len(found) > _MOST_CHANGES else ""
    return ", ".join(found[:_MOST_CHANGES]) + more


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHANGED else f"{text[: _MOST_CHANGED - 3]}..."


def _walk(path: _Path, now: object, was: object) -> Iterator[tuple[_Path, object, object]]:
    """The deepest places that differ."""
    if now == was:
        return
    if isinstance(now, Mapping) and isinstance(was, Mapping):
        for name in sorted({*now, *was}):
            yield from _walk((*path, name), now.get(name, _ABSENT), was.get(name, _ABSENT))
    elif isinstance(now, list | tuple) and isinstance(was, list | tuple):
        for number in range(max(len(now), len(was))):
            pair = (items[number] if number < len(items) else _ABSENT for items in (now, was))
            yield from _walk((*path, number), *pair)
    else:
        yield path, now, was


def _words(now: object, was: object) -> str:
    if isinstance(now, str) and now.startswith(STEP_SCHEME):
        if isinstance(was, str) and was.startswith(STEP_SCHEME):
            return "is made anew: what this task builds on has changed"
        return f"is what another task makes, was {_short(was)}"
    if not (isinstance(now, str) and isinstance(was, str)):
        return f"is {_short(now)}, was {_short(was)}"
    shown, shown_before = printable(now), printable(was)
    if shown == shown_before:
        return f"differs in the part of {_quoted(shown, 0)} that is not shown"
    if len(shown) <= _MOST_SHOWN >= len(shown_before) and " " not in shown + shown_before:
        return f"is {shown}, was {shown_before}"
    pairs = enumerate(zip(shown, shown_before, strict=False))
    start = next((place for place, (one, other) in pairs if one != other), min(len(shown), len(shown_before)))
    return f"is {_quoted(shown, start)}, was {_quoted(shown_before, start)}"


def _quoted(text: str, at: int) -> str:
    """The part of `text` around the character `at`; all of it where it is short."""
    if len(text) <= _MOST_SHOWN:
        return f'"{text}"'
    start, end = max(0, at - _BEFORE), at + _AFTER
    left, right = "..." if start else "", "..." if end < len(text) else ""
    return f'"{left}{text[start:end]}{right}"'


def _short(value: object) -> str:
    if value is None or value is _ABSENT:
        return "not set"
    clean = printable_value(value)
    text = clean if isinstance(clean, str) else json.dumps(clean, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
