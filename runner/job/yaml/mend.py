"""The one change after which a broken job file passes: found by trying, so that a hint can be trusted.

A parser says where it gave up, not what was meant: a space that is missing after a `:` shows two lines
further down. So the changes that undo a slip of the hand (`slips`) are made one at a time on a copy of the
text, and the copy is checked like any job file. What passes becomes the message.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.errors import Problem
from runner.job.yaml.nodes import Mapping, Node, Path, entries_of, items_of, show_path
from runner.job.yaml.nodes import Sequence as SequenceNode
from runner.job.yaml.slips import indents, names, slips
from runner.job.yaml.source import LOOKS_LIKE_KEY, read
from runner.plural import count
from runner.providers import every
from runner.resources import load_schema
from runner.spelling import alike, disguise

Check = Callable[[bytes], Sequence[Problem]]
"""Every error of a text of the job file."""

MOST_CHARACTERS = 64 * 1024
"""Of a file that is mended: one that a person wrote. Larger ones keep the parser's messages."""
_MOST_MENDS = 4
"""Slips of one file."""
_MOST_READ = 2_000_000
"""Characters of all copies that are read for one slip: a second or so."""
_MOST_CHECKS = 120
"""Copies that are checked as a whole for one slip."""
_MOST_PLACES = 20
"""Problems whose lines are searched for misspelt names."""
_MOST_NAMES = 3
"""Other names that are tried for one."""
_SHORT = 4
"""Letters of a name that is compared less strictly."""
_BLANKS = " \t"
_LINES_BACK = 4
"""Lines with something in them, above a place that the parser complains about."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A copy of the file with one line, or the indent of a few, changed. The lower `rank`, the likelier."""

    lines: tuple[str, ...]
    index: int
    rank: tuple[int, ...]
    message: str = ""
    hint: str = ""
    word: tuple[str, str] | None = None
    is_indent: bool = False

    @property
    def text(self) -> bytes:
        return "\n".join(self.lines).encode()


def mended(text: bytes, problems: Sequence[Problem], check: Check) -> tuple[Problem, ...]:
    """The problems of a job file, each slip of the hand in the place of all that it causes.

    The hint of such a problem is a change that was tried.
    """
    try:
        lines = tuple(text.decode("utf-8").split("\n"))
    except UnicodeDecodeError:
        return tuple(problems)
    if len(text) > MOST_CHARACTERS or any(problem.message == LOOKS_LIKE_KEY for problem in problems):
        return tuple(problems)
    told: list[Problem] = []
    left = wrong = check(text)
    for _ in range(_MOST_MENDS):
        slips_left = _own(left)
        best = _best(lines, slips_left, check) if slips_left else None
        if best is None:
            break
        change, left = best
        told.append(_told(lines, change, slips_left))
        lines = change.lines
    if not told:
        return tuple(_without_failed_hints(lines, problems, wrong, check))
    places = {(problem.line, problem.path) for problem in wrong}
    inputs = (problem for problem in problems if (problem.line, problem.path) not in places)
    return (*told, *_without_failed_hints(lines, left, left, check), *inputs)


def _without_failed_hints(
    lines: tuple[str, ...], problems: Sequence[Problem], wrong: Sequence[Problem], check: Check
) -> Iterator[Problem]:
    """The `problems`, without a `did you mean` that brings another problem than those that are `wrong`."""
    before = {_key(problem) for problem in wrong}
    for number, problem in enumerate(problems):
        meant, named = _MEANT.fullmatch(problem.hint), _NAMED.search(problem.message)
        if meant and named and number < _MOST_MENDS and _own([problem]):
            line, start, name = lines[problem.line - 1], problem.column - 1, named[1]
            if not line.startswith(name, start):
                yield problem
                continue
            renamed = line[:start] + meant[1] + line[start + len(name) :]
            copy = _changed(lines, problem.line - 1, renamed, (), "")
            if any(_key(other) not in before for other in check(copy.text)):
                at = next((each.index + 1 for each in names(lines) if each.text == meant[1]), 0)
                problem = replace(
                    problem, hint=f"keep one of this and `{meant[1]}` in line {at}" if at else ""
                )
        yield problem


def _best(
    lines: tuple[str, ...], wrong: Sequence[Problem], check: Check
) -> tuple[_Change, Sequence[Problem]] | None:
    """The likeliest change that leaves fewer problems and brings none of its own, and what it leaves."""
    # a known key in another place is told by its own hint
    placed = {_key(problem) for problem in wrong if _BELONGS in problem.hint}
    before = {_key(problem) for problem in wrong} - placed
    if not before:
        return None
    whole = read("\n".join(lines).encode())
    is_read = whole.root is not None
    keys = _count(whole.root)
    room, checks = _MOST_READ, _MOST_CHECKS
    best: tuple[_Change, Sequence[Problem]] | None = None
    least = (0, 0)
    changes = sorted(_changes(lines, wrong, whole.root), key=lambda change: change.rank)
    # any other text ends a clash; only one that is read as an expression at last was a slip
    clashes = {_key(problem) for problem in wrong if problem.is_clash}
    if clashes == before:
        changes = [change for change in changes if _expressions(change.lines) > _expressions(lines)]
    for change in changes:
        copy = change.text
        room -= len(copy)
        if room < 0 or not checks:
            break
        reading = read(copy)
        # a change that makes a key a part of the text above it hides what is wrong
        is_hidden = change.hint != _DELETE and _count(reading.root) < keys
        if reading.root is None or (reading.problems and not is_read) or is_hidden:
            continue
        if change.is_indent and _is_folded(reading.root, change):
            continue
        checks -= 1
        left = check(copy)
        errors = [problem for problem in _own(left) if _key(problem) not in placed]
        ended = before - {_key(problem) for problem in errors}
        if ended <= clashes and is_read and _expressions(change.lines) <= _expressions(lines):
            continue
        if not left:
            return change, left
        if any(_is_missing_at(problem, change.index) for problem in left):
            continue
        cost = (len(errors), len(left))
        is_less = {_key(problem) for problem in errors} < before
        touched = {i + 1 for i, line in enumerate(change.lines) if line != lines[i]}
        is_elsewhere = touched.isdisjoint(each.line for each in errors if _BELONGS not in each.hint)
        if (is_less if is_read else is_elsewhere) and (best is None or cost < least):
            best, least = (change, left), cost
    return best


def _is_missing_at(problem: Problem, index: int) -> bool:
    """Whether this line names a file that is not there: to write another name mends nothing."""
    return problem.is_missing_input and problem.line == index + 1


def _own(problems: Iterable[Problem]) -> list[Problem]:
    """Those that a change of the job file's text may mend."""
    return [problem for problem in problems if not problem.is_missing_input and not problem.file]


_BELONGS = "` belongs under `"
_KEY_OF_LINE = re.compile(r"\s*[a-z_]+:")


def _is_folded(root: Node, change: _Change) -> bool:
    """Whether the line, which has a key, is now a part of the text above it."""
    if not _KEY_OF_LINE.match(change.lines[change.index]):
        return False
    return change.index + 1 not in set(_lines_of_keys(root))


def _lines_of_keys(node: Node) -> Iterator[int]:
    for key, value in entries_of(node):
        yield key.location.line
        yield from _lines_of_keys(value)
    for item in items_of(node):
        yield from _lines_of_keys(item)


def _expressions(lines: Iterable[str]) -> int:
    return sum(len(_EXPRESSION.findall(line)) for line in lines)


_EXPRESSION = re.compile(r"\$\{\{[^{}]*\}\}")


def _key(problem: Problem) -> tuple[str, str]:
    return problem.path, problem.message


def _changes(lines: tuple[str, ...], wrong: Sequence[Problem], root: Mapping | None) -> Iterator[_Change]:
    """Every change that is tried, in no order. `root` is the document, as far as it can be read."""
    is_read = root is not None
    near: dict[int, int] = {}
    for problem in wrong:
        for away, index in enumerate(_around(lines, min(problem.line, len(lines)) - 1, is_read=is_read)):
            near[index] = min(away, near.get(index, away))
    if is_read:
        yield from _other_names(lines, wrong, root)
    for index, line in enumerate(lines):
        if _is_empty(line) or (index not in near and not _FAR_REACHING.search(line)):
            continue
        away = near.get(index, 99)
        for row, slip in enumerate(slips(line)):
            rank = (1, away, row) if line.isascii() else (-1, row)
            yield _changed(lines, index, slip.line, rank, slip.message, slip.hint)
        if index in near:
            yield from _other_indents(lines, index, away, deepest=_deepest(lines, index, is_read=is_read))
    if is_read:
        yield from _without(lines, wrong)
    else:
        yield from _as_comments(lines, near)


_FAR_REACHING = re.compile(r"[\"'{}]|[^\x00-\x7f]")
"""Signs that show far below their line: what they open goes on until it is closed."""


def _around(lines: tuple[str, ...], index: int, *, is_read: bool) -> Iterator[int]:
    """The line that a problem names, those beside it, and where the parser was lost, those around it."""
    yield index
    above = [i for i in range(index - 1, -1, -1) if not _is_empty(lines[i])]
    yield from above[: 1 if is_read else _LINES_BACK]
    yield from (i for i in range(index + 1, min(index + 2, len(lines))))
    if not is_read:
        outer, below = 1_000, index
        for i in above:
            if _indent(lines[i]) < outer:
                outer = _indent(lines[i])
                yield from (i, below)
            below = i


def _is_empty(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _changed(
    lines: tuple[str, ...], index: int, line: str, rank: tuple[int, ...], message: str, hint: str = ""
) -> _Change:
    return _Change((*lines[:index], line, *lines[index + 1 :]), index, rank, message, hint)


def _other_indents(lines: tuple[str, ...], index: int, away: int, *, deepest: int) -> Iterator[_Change]:
    """The line, alone or with what stands deeper below it, at the columns of the lines around it."""
    line = lines[index]
    own = _indent(line)
    what = f"an indent of {count(own, 'space')} does not fit here"
    if "\t" in line[:own]:
        what = "a tab in the indent"
    last = index
    while last + 1 < len(lines) and (not lines[last + 1].strip() or _indent(lines[last + 1]) > own):
        last += 1
    while not lines[last].strip():
        last -= 1
    for order, at in enumerate(at for at in indents(lines, index) if at <= deepest):
        hint = f"indent this line by {count(at, 'space')}"
        alone = _changed(lines, index, " " * at + line.lstrip(_BLANKS), (2, order, away, 0), what, hint)
        yield replace(alone, is_indent=True)
        if last > index:
            block = [
                " " * max(0, _indent(each) + at - own) + each.lstrip(_BLANKS)
                for each in lines[index : last + 1]
            ]
            way = "more" if at > own else "less"
            hint = f"indent lines {index + 1} to {last + 1} by {count(abs(at - own), 'space')} {way}"
            yield _Change(
                (*lines[:index], *block, *lines[last + 1 :]), index, (2, order, away, 1), what, hint
            )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(_BLANKS))


def _deepest(lines: tuple[str, ...], index: int, *, is_read: bool) -> int:
    """How far to the right the line may go: no key without a value where anything may stand, as in `vars`."""
    below = next((line for line in lines[index + 1 :] if not _is_empty(line)), "")
    is_bare = _BARE_KEY.match(lines[index]) and _indent(below) <= _indent(lines[index])
    return _indent(lines[index]) if is_read and is_bare else 1_000


_BARE_KEY = re.compile(r"\s*[\w-]+:\s*(?:#.*)?$")


_DELETE = "delete this line"
_MEANT = re.compile(r"did you mean `([^`]+)`\?")
_NAMED = re.compile(r"`([^`]+)`")


def _without(lines: tuple[str, ...], wrong: Sequence[Problem]) -> Iterator[_Change]:
    """Without the second of two keys that are equal or alike; several equal pairs lack an item's dash."""
    twice = [problem for problem in wrong if problem.message.endswith("appears twice")]
    for problem in twice if len(twice) == 1 else ():
        yield _changed(lines, problem.line - 1, "", (3,), problem.message, _DELETE)
    found = {name.text: name.index + 1 for name in names(lines)}
    for problem in wrong:
        meant = _MEANT.fullmatch(problem.hint)
        if meant and found.get(meant[1], problem.line) != problem.line:
            told = f"{problem.message}; line {found[meant[1]]} has `{meant[1]}`"
            yield _changed(lines, problem.line - 1, "", (3,), told, _DELETE)


def _as_comments(lines: tuple[str, ...], near: Iterable[int]) -> Iterator[_Change]:
    """A line below a comment that may be the rest of it."""
    for index in near:
        if index and "#" in lines[index - 1] and not set(lines[index]) & set(":#"):
            changed = f"# {lines[index].lstrip()}"
            yield _changed(lines, index, changed, (3,), "a comment goes on here without its `#`")


def _other_names(lines: tuple[str, ...], wrong: Sequence[Problem], root: Mapping | None) -> Iterator[_Change]:
    """Each name as another one of the file or of the language that is much alike.

    One of the two stands on a line that a problem names.
    """
    found = list(names(lines))
    times = Counter(name.text for name in found)
    language = _language()
    places = {problem.line - 1 for problem in wrong[:_MOST_PLACES]}
    here = sorted({name.text for name in found if name.index in places})
    everything = sorted(language | times.keys() | set(_parts(root)))
    for name in found:
        for order, near in enumerate(_alike(name.text, everything if name.index in places else here)):
            if not any(map(str.isalpha, near)):  # another number is another wish
                continue
            line = lines[name.index]
            changed = line[: name.start] + near + line[name.start + len(name.text) :]
            is_unlikely = name.text in language or near not in language
            rank = (0, is_unlikely, order, times[name.text] - times[near], name.index not in places)
            yield replace(_changed(lines, name.index, changed, rank, ""), word=(name.text, near))


def _alike(name: str, choices: Sequence[str]) -> list[str]:
    """`a.b` means `a.c` only where `b` is like `c`; a short name may differ in one letter."""
    head, dot, tail = name.rpartition(".")
    if dot:
        parts = [choice.rpartition(".") for choice in choices]
        tails = [part for start, _, part in parts if start == head and part != tail]
        if near := alike(tail, tails, most=_MOST_NAMES):
            return [f"{head}.{each}" for each in near]
        choices = [start + dot + part for start, dot, part in parts if dot and start != head]
    cutoff = 0.5 if len(name) < _SHORT else 0.6
    return [word for word in _other_words(name) if word in choices] + alike(
        name, (choice for choice in choices if choice != name), most=_MOST_NAMES, cutoff=cutoff
    )


def _parts(node: Node | None) -> Iterator[str]:
    """`axis.part` and `vars.name`, as an expression may use them."""
    if isinstance(node, SequenceNode):
        for item in node.items:
            yield from _parts(item)
    elif isinstance(node, Mapping):
        for key, value in node:
            for item in (value, *items_of(value)):
                yield from (f"{key.value}.{part.value}" for part, _ in entries_of(item))
            yield from _parts(value)


def _other_words(name: str) -> list[str]:
    """What a field is called at other services."""
    words = [pair for provider in every().values() for pair in provider.dialect.words.items()]
    return [other for pair in words for one, other in (pair, pair[::-1]) if one == name != other]


@functools.cache
def _language() -> frozenset[str]:
    """The words that a job file may have: the schema's keys and choices, and the models' sizes."""
    words = {"id", "prompt"}
    stack: list[object] = [load_schema("job")]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            words |= set(part.get("properties", ()))
            words |= {choice for choice in part.get("enum", ()) if isinstance(choice, str)}
            stack += part.values()
        elif isinstance(part, list):
            stack += part
    for provider in every().values():
        words |= provider.fields
        for family in provider.catalogue.families.values():
            words |= {*family.resolutions, *family.ratios}
    return frozenset(words)


def _told(lines: tuple[str, ...], change: _Change, wrong: Sequence[Problem]) -> Problem:
    old, new = lines[change.index], change.lines[change.index]
    start, end = _span(old, new)
    path = show_path(_path_at(read(change.text).root, change.index + 1))
    if change.hint == _DELETE:
        own = next((problem.path for problem in wrong if problem.line == change.index + 1), "")
        key = _NAMED.search(change.message)
        path = own or (path if key is not None and path.endswith(key[1]) else "")
    if change.word is None:
        right, before = new[start : len(new) - end], old[start : len(old) - end]
        is_secret = _SIGNED_URL.search(before)
        hint = "look at both ends of the URL" if is_secret else f"write `{right}` instead of `{before}`"
        hint = change.hint or hint
        return Problem(change.index + 1, start + 1, path, change.message, hint)
    name, near = change.word
    start, _ = _common(old, new)
    column = next((at.start for at in names([old]) if at.text == name and at.start <= start), start) + 1
    hint = f"did you mean `{near}`?"
    here = [problem for problem in wrong if problem.line == change.index + 1]
    named = next((problem for problem in here if f"`{name}`" in problem.message), None)
    if named is not None:
        problem = replace(named, column=column, hint=hint)
    elif here:
        problem = replace(here[0], column=column, hint=f"write `{near}` instead of `{name}`")
    else:
        problem = Problem(change.index + 1, column, path, f"`{name}` is used nowhere", hint)
    if (odd := disguise(name)) and odd not in problem.message:
        return replace(problem, message=f"{problem.message}: {odd}")
    elsewhere = next((at.index + 1 for at in names(lines) if at.text == near), 0)
    if elsewhere and near not in _language():
        return replace(problem, message=f"{problem.message}; line {elsewhere} has `{near}`")
    return problem


_SIGNED_URL = re.compile(r"://\S*[?@]")


def _common(old: str, new: str) -> tuple[int, int]:
    """How many characters are the same at the start, and at the end."""
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    end = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    return start, end


def _span(old: str, new: str) -> tuple[int, int]:
    """What differs between two lines, in whole words: where it begins, and how far from the end it ends."""
    start, end = _common(old, new)

    def is_blank() -> bool:
        return not old[start : len(old) - end].strip() or not new[start : len(new) - end].strip()

    while start and not old[start - 1].isspace():
        start -= 1
    while end and (not old[len(old) - end].isspace() or not old[start : len(old) - end].strip()):
        end -= 1
    while start and (is_blank() or not old[start - 1].isspace()):
        start -= 1
    return start, end


def _count(node: Node | None) -> int:
    """The keys of a document."""
    match node:
        case Mapping(entries=entries):
            return sum(1 + _count(value) for _, value in entries)
        case SequenceNode(items=items):
            return sum(_count(item) for item in items)
    return 0


def _path_at(node: Node | None, line: int) -> Path:
    """The path of the last key that begins at `line` or above it."""
    best: Path = ()
    if isinstance(node, Mapping):
        for key, value in node:
            if key.location.line > line:
                break
            best = key.location.path
            if key.location.line == line:
                break
            best = _path_at(value, line) or best
    elif isinstance(node, SequenceNode):
        for item in node.items:
            if item.location.line > line:
                break
            best = _path_at(item, line) or item.location.path
    return best
