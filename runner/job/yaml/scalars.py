"""Values that YAML would quietly make into something else: an empty one, and an odd spelling of a number.

Nothing here changes what a value means; what a person may have meant otherwise is told, with what to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from runner.errors import Problem, Severity
from runner.job.yaml.nodes import Location, Mapping, Node, Path, Scalar, Sequence, cut

_EMPTY = frozenset({"", "~"})
"""Unlike the word `null`, which says that a field is left to the service."""
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)?\.[0-9]*")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:_[0-9]{3})+(?:\.[0-9]*)?")
_FREE = frozenset({"matrix", "include", "exclude", "pick", "vars"})
"""Keys below which a value may be text as well as a number, and whose values may stand in a prompt."""


def check_scalars(document: Mapping, found: Iterable[Problem] = ()) -> list[Problem]:
    """`found`, the schema's problems, and what is wrong with how single values are written.

    Of two problems with one value, the one that says what to write is kept.
    """
    earlier = list(found)
    with_hint = {problem.path for problem in earlier if problem.hint}
    own = [problem for problem in _walk(document) if problem.path not in with_hint]
    mended = {problem.path for problem in own if problem.severity is Severity.ERROR}
    return sorted(
        [*(problem for problem in earlier if problem.path not in mended), *own],
        key=lambda problem: (problem.line, problem.column),
    )


def _walk(node: Node, key: Location | None = None) -> Iterator[Problem]:
    """`key` is where the key stands whose value `node` is."""
    match node:
        case Mapping(entries=entries):
            for name, value in entries:
                if not (_is_plain_text(value) or str(name.value).startswith("x-")):
                    yield from _walk(value, name.location)
        case Sequence(items=items):
            for item in items:
                if not _is_plain_text(item):
                    yield from _walk(item)
        case Scalar(is_plain=True):
            yield from _check(node, key)


def _is_plain_text(node: Node) -> bool:
    """Most values of a large job: told here, they cost no step of the walk."""
    return isinstance(node, Scalar) and isinstance(node.value, str) and "_" not in node.text


def _check(scalar: Scalar, key: Location | None) -> Iterator[Problem]:
    text, value = scalar.text, scalar.value
    if text in _EMPTY:
        # an empty value has no place of its own: the parser puts it at the end of the line, or on the next
        location = key if key is not None and not text else scalar.location
        yield location.error("is empty", f"give it a value, or delete the {'item' if key is None else 'key'}")
    elif _GROUPED.fullmatch(text):
        number = text.replace("_", "").removeprefix("+")
        yield scalar.location.error(f"`{text}` is text, not the number {number}", _instead(scalar, number))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(scalar, value)


def _check_number(scalar: Scalar, value: float) -> Iterator[Problem]:
    text, is_free = scalar.text, _is_free(scalar.location.path)
    if text == str(value) or (_DECIMAL.fullmatch(text) and not is_free):
        return
    number = str(int(value)) if value == int(value) else str(value)
    told, hint = f"`{cut(text)}` is read as the number {number}", _instead(scalar, number)
    if _OCTAL.fullmatch(text) and int(text, 8) != value:
        told += f", and by other programs as {int(text, 8)}"
    # where no text may stand, `0x4` can mean one number alone
    is_sure = not is_free and not _LEADING_ZERO.fullmatch(text)
    yield scalar.location.warning(told, hint) if is_sure else scalar.location.error(told, hint)


def _instead(scalar: Scalar, number: str) -> str:
    own = f', or quote it, if it is text: "{cut(scalar.text)}"' if _is_free(scalar.location.path) else ""
    return f"write {number}{own}"


def _is_free(path: Path) -> bool:
    """Whether the value at `path` may be text as well as a number."""
    return not _FREE.isdisjoint(path[:1] if path[:1] != ("steps",) else path[2:3])
