"""`${{ ... }}`: small expressions over a scope of plain values.

Jinja2's immutable sandbox compiles them, but only after every node of the expression has been
found in a short list: names, constants, attributes and items, comparisons, `and`, `or`, `not`,
`a if b else c`, `+`, `-` and the filters of `FILTERS`. What can build something huge from
something small (`**`, `*`, `%`, `~`, calls, ranges, formatting) is not in the list.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from jinja2 import TemplateError, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser

from runner.job.expressions.filters import CONDITIONS, ENVIRONMENT, FILTERS, ExpressionError, as_text
from runner.job.expressions.rundate import RunDate, RunTime
from runner.job.problems import Checked, ProblemError
from runner.job.yaml.nodes import Location
from runner.job.yaml.source import location_at
from runner.json_value import JsonValue
from runner.spelling import did_you_mean

OPEN = "${{"
CLOSE = "}}"
MOST_SOURCE = 1_000
"""Characters of one expression."""
MOST_RESULT = 64 * 1024
"""Characters of one evaluated scalar."""

NEEDS = "needs"
RUN, RUN_TIME = "run", "run.time"
PREVIOUS = "previous"
"""The task before this one in its chain."""
LAST_FRAME, OUTPUT, TASK_ID = "last_frame", "output", "task_id"
STEP_OUTPUTS: Mapping[str, str] = {
    LAST_FRAME: "the image of an image_url item",
    OUTPUT: "the video of a video_url item",
    TASK_ID: "the id of a draft_task item",
}
"""What `needs.<step>` and `previous` have besides axes, and where each may be used: known only later."""

_OTHER_WORDS = {"video": OUTPUT, "video_url": OUTPUT, "last_frame_url": LAST_FRAME, "id": TASK_ID}
"""What a person may call such an output."""

KnownNames: TypeAlias = Mapping[str, frozenset[str] | None]
"""The names in scope, each with its attributes (None: known only when it is evaluated).

The attributes of an attribute are under its dotted name: `needs.shot1`.
"""

Scope: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled `${{ source }}`; `names` are the top-level names that it uses, and `run.time`."""

    source: str
    names: frozenset[str]
    keys: tuple[str, ...]
    compiled: TemplateExpression

    def evaluate(self, scope: Scope) -> JsonValue:
        """The value, with its type. Raises ExpressionError."""
        value = self._look_up(scope)
        return self._checked(value if value is not None else self.compute(scope))

    def compute(self, scope: Scope) -> object:
        """What Jinja gives, perhaps an Undefined. Raises ExpressionError."""
        try:
            return self.compiled(scope)
        except NameError:  # Jinja writes a constant that overflows as the name `inf`
            raise ExpressionError(f"`{self.source}` is not a finite number") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ExpressionError(f"`{self.source}`: {_reason(error)}") from None

    def _look_up(self, scope: Scope) -> object:
        """`name.key.key` without Jinja, which takes 20 times as long; None if only Jinja can tell."""
        value: object = scope if self.keys else None
        for key in self.keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _checked(self, value: object) -> JsonValue:
        if isinstance(value, Undefined):
            raise ExpressionError(f"`{self.source}` has no value in this cell", "use `| default(...)`")
        if isinstance(value, str):
            if len(value) > MOST_RESULT:
                raise ExpressionError(f"`{self.source}` gives more than {MOST_RESULT:,} characters")
            return value
        if isinstance(value, RunDate | RunTime):
            return str(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionError(f"`{self.source}` is not a finite number")
        if value is None or isinstance(value, bool | int | float | str | list | tuple | dict):
            return value
        raise ExpressionError(f"`{self.source}` is not a plain value")


@dataclass(frozen=True, slots=True)
class Template:
    """A scalar of the job file that holds at least one expression, split into its parts."""

    parts: tuple[str | Expression, ...]
    names: frozenset[str]

    def evaluate(self, scope: Scope) -> JsonValue:
        """The value: typed where the scalar is one expression, else text. Raises ExpressionError."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return self.parts[0].evaluate(scope)
        text = "".join(
            part if isinstance(part, str) else as_text(part.evaluate(scope), part.source)
            for part in self.parts
        )
        if len(text) > MOST_RESULT:
            raise ExpressionError(f"gives more than {MOST_RESULT:,} characters")
        return text


@dataclass(frozen=True, slots=True)
class Condition:
    """`when:` of a content item."""

    location: Location
    expression: Expression

    @property
    def names(self) -> frozenset[str]:
        return self.expression.names

    @property
    def read_names(self) -> frozenset[str]:
        return self.names

    def holds(self, scope: Scope) -> bool:
        """False for what is absent: no such key, null, false, a text without a word, an empty list or object.

        Raises ProblemError for a number, and for what cannot be computed.
        """
        try:
            value = self.expression.compute(scope)
        except ExpressionError as error:
            raise ProblemError(error.at(self.location)) from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            source = self.expression.source
            hint = f"compare it: when: ${{{{ {source} > 0 }}}}"
            raise ProblemError(self.location.error(f"`{source}` is the number {value}", hint))
        if type(value) is str:
            value = value.strip()
        return bool(value)


def has_expression(text: str) -> bool:
    return OPEN in text


def compile_template(
    text: str, known: KnownNames, location: Location, *, is_file: bool = False
) -> Checked[Template | None]:
    """The template of the `text` at `location`, every name in it checked against `known`.

    None if something is wrong with it. Where the text is a whole file (`is_file`), a problem is told at the
    place of its expression.
    """
    parts: list[str | Expression] = []
    is_whole = True
    position = 0
    try:
        for is_source, piece in _split(text):
            if is_file:
                location = replace(location_at(text, position), file=location.file)
            position += len(piece) + is_source * len(OPEN + CLOSE)
            part = (yield from _compile(piece.strip(), known, location)) if is_source else piece
            if part is None:
                is_whole = False
            else:
                parts.append(part)
    except ExpressionError as error:  # the text cannot be split any further
        if is_file:
            location = replace(location_at(text, text.find(OPEN, position)), file=location.file)
        yield error.at(location)
        return None
    names = frozenset[str]().union(*(part.names for part in parts if isinstance(part, Expression)))
    return Template(tuple(parts), names) if is_whole else None


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is an expression's source, piece) for each piece of `text`."""
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        if start > position:
            yield False, text[position:start]
        end = _end_of_expression(text, start + len(OPEN))
        yield True, text[start + len(OPEN) : end]
        position = end + len(CLOSE)
    if position < len(text):
        yield False, text[position:]


def _end_of_expression(text: str, position: int) -> int:
    """The index of the closing braces; those inside a string of the expression do not count."""
    quote = ""
    start = position
    while position < len(text) and position - start <= MOST_SOURCE:
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif text.startswith(CLOSE, position):
            return position
        position += 1
    if position - start > MOST_SOURCE:
        raise ExpressionError(f"an expression is longer than {MOST_SOURCE:,} characters")
    raise ExpressionError("`${{` without `}}`", "close the expression, or write `${{ '${{' }}` for the text")


@functools.lru_cache(maxsize=4096)
def _parse(source: str, *, is_condition: bool = False) -> tuple[nodes.Expr, TemplateExpression]:
    """The nodes are checked before they are compiled: the compiler computes constants."""
    environment = CONDITIONS if is_condition else ENVIRONMENT
    if not source:
        raise ExpressionError("`${{ }}` is empty")
    try:
        parser = Parser(environment, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise ExpressionError(f"`{source}`: cannot read it from `{parser.stream.current.value}` on")
        _check_nodes(tree, source)
        return tree, environment.compile_expression(source, undefined_to_none=False)
    except TemplateError as error:
        raise ExpressionError(f"`{source}`: {_reason(error)}") from None
    except (RecursionError, MemoryError, SyntaxError, ValueError):
        raise ExpressionError(f"`{source[:40]}...` is nested too deeply") from None


def compile_condition(text: str, known: KnownNames, location: Location) -> Checked[Condition | None]:
    """The condition that the whole of `text` is; None if something is wrong with it."""
    try:
        pieces = list(_split(text.strip()))
    except ExpressionError as error:
        yield error.at(location)
        return None
    if [is_source for is_source, _ in pieces] != [True]:
        yield location.error("`when` is one expression", "when: ${{ shot.image }}")
        return None
    expression = yield from _compile(pieces[0][1].strip(), known, location, is_condition=True)
    return None if expression is None else Condition(location, expression)


def _compile(
    source: str, known: KnownNames, location: Location, *, is_condition: bool = False
) -> Checked[Expression | None]:
    try:
        tree, compiled = _parse(source, is_condition=is_condition)
    except ExpressionError as error:
        yield error.at(location)
        return None
    names = frozenset(node.name for node in _walk(tree) if isinstance(node, nodes.Name))
    is_known = True
    for message, hint in (*_unknown_names(names, known), *_missing_parts(tree, known)):
        is_known = False
        yield location.error(message, hint)
    if RUN in names and _reads_time(tree):
        names |= {RUN_TIME}
    return Expression(source, names, _keys(tree), compiled) if is_known else None


def _reads_time(tree: nodes.Node) -> bool:
    """Whether it uses `run.time`, or `run` in a way that may."""
    whole = sum(isinstance(node, nodes.Name) and node.name == RUN for node in _walk(tree))
    parts = [part for owner, part in map(_attribute, _walk(tree)) if owner == RUN]
    return "time" in parts or whole > len(parts)


def _keys(tree: nodes.Node) -> tuple[str, ...]:
    """("a", "b", "c") of `a.b.c`, else empty."""
    keys: list[str] = []
    while isinstance(tree, nodes.Getattr):
        keys.append(tree.attr)
        tree = tree.node
    return (tree.name, *reversed(keys)) if isinstance(tree, nodes.Name) else ()


def _unknown_names(names: Set[str], known: KnownNames) -> Iterator[tuple[str, str]]:
    """(message, hint) for each name that is not in scope."""
    plain = frozenset(choice for choice in known if "." not in choice)
    for name in sorted(names - known.keys()):
        hint = did_you_mean(name, plain) or f"names here: {', '.join(sorted(plain))}"
        if name == NEEDS:
            hint = "only a step with a `needs:` key has it"
        elif name == PREVIOUS:
            hint = "only the content and the request of a step with a `chain:` key have it"
        yield f"unknown name `{name}`", hint


def _missing_parts(tree: nodes.Node, known: KnownNames) -> Iterator[tuple[str, str]]:
    """(message, hint) for each attribute that its owner is known not to have."""
    for node in _walk(tree):
        owner, part = _attribute(node)
        attributes = known.get(owner) if owner else None
        if attributes is None or part in attributes:
            continue
        is_upstream = owner == PREVIOUS or owner.startswith(f"{NEEDS}.")
        if is_upstream and part in STEP_OUTPUTS:
            yield f"`{owner}.{part}` cannot be used here", f"use it alone, as {STEP_OUTPUTS[part]}"
        elif is_upstream and part in _OTHER_WORDS:
            yield f"`{owner}` has no `{part}`", f"${{{{ {owner}.{_OTHER_WORDS[part]} }}}}"
        else:
            yield f"`{owner}` has no `{part}`", _missing_part_hint(owner, part, attributes)


def _missing_part_hint(owner: str, part: str, attributes: frozenset[str]) -> str:
    if owner == "env":
        return f"list `{part}` under `env:`"
    if not attributes:
        return f"`{owner}` is one value and has no parts"
    return did_you_mean(part, attributes) or f"it has: {', '.join(sorted(attributes))}"


def _attribute(node: nodes.Node) -> tuple[str, str]:
    """("a.b", "c") of `a.b.c` and of `a.b["c"]`, else two empty strings."""
    if isinstance(node, nodes.Getattr):
        return _dotted(node.node), node.attr
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        return _dotted(node.node), node.arg.value
    return "", ""


def _dotted(node: nodes.Node) -> str:
    """`a.b` of that name and its parts, empty for anything else."""
    if isinstance(node, nodes.Name):
        return node.name
    owner, part = _attribute(node)
    return f"{owner}.{part}" if owner else ""


_ALLOWED_NODES = (
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
)
_WORDS: Mapping[type[nodes.Node], str] = {
    nodes.Mul: "`*`",
    nodes.Pow: "`**`",
    nodes.Mod: "`%`",
    nodes.Concat: "`~`",
    nodes.Div: "`/`",
    nodes.FloorDiv: "`//`",
    nodes.Call: "a call",
    nodes.Test: "`is`",
    nodes.List: "a list",
    nodes.Dict: "an object",
    nodes.Tuple: "a comma",
    nodes.Slice: "a slice",
}


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    yield tree
    for child in tree.iter_child_nodes():
        yield from _walk(child)


def _check_nodes(tree: nodes.Node, source: str) -> None:
    for node in _walk(tree):
        if not isinstance(node, _ALLOWED_NODES):
            word = _WORDS.get(type(node), type(node).__name__)
            raise ExpressionError(
                f"`{source}`: {word} is not allowed in an expression",
                "allowed: names, text, numbers, comparisons, and, or, not, if/else, +, -, filters",
            )
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            raise ExpressionError(f"`{source}`: names that begin with `_` are not allowed")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            near = did_you_mean(node.name, FILTERS)
            raise ExpressionError(
                f"`{source}`: unknown filter `{node.name}`", near or f"filters: {', '.join(sorted(FILTERS))}"
            )


def _reason(error: Exception) -> str:
    """One line of what Jinja or Python says."""
    return (str(error) or type(error).__name__).splitlines()[0]
