"""What the YAML parser complains about, in words for the person who wrote the file."""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from runner.errors import Problem
from runner.job.yaml.nodes import Location

_COMMENT = re.compile(r"[ \t]#")
_LINE_BREAK = re.compile(r"\r\n?|\n")
_QUOTE = 'quote the whole value: "..."'

# libyaml and PyYAML's own parser word the same complaint differently; each pattern covers both.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"mapping values are not allowed",
        "a second `:` where a value is already being read",
        f"if the value holds `: `, {_QUOTE}; else check the indentation of this line and the one above",
    ),
    (
        r"sequence entries are not allowed",
        "a list item cannot start here",
        "start the list on a line of its own, indented below its key",
    ),
    (r"mapping keys are not allowed", "a key cannot start here", "check the indentation of this line"),
    (
        r"expected ',' or '\]'",
        "expected `,` or `]` in this list",
        "close the list with `]`, or quote an item that holds `,`, `:`, brackets or braces",
    ),
    (
        r"expected ',' or '\}'",
        "expected `,` or `}` in this mapping",
        "close the mapping with `}`, or quote a value that holds `,`, `:`, brackets or braces",
    ),
    (r"found unexpected ':'", "a key whose `:` is not followed by a space", "put a space after the `:`"),
    (
        r"did not find expected key|expected <block end>",
        "this does not continue the mapping above",
        "check the indentation; text after a closing quote, an alias or a comment cannot go on",
    ),
    (
        r"expected '-' indicator",
        "expected another list item",
        "check the indentation, or start the line with `- `",
    ),
    (r"could not find expected ':'", "this line is not `key: value`", "add `: ` and a value, or indent it"),
    (
        r"found unknown escape character",
        "unknown escape after `\\` in double quotes",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        r"found invalid Unicode|expected hexdecimal|escape sequence of",
        "this escape names no character",
        "write the character itself, or \\UXXXXXXXX with its eight hex digits",
    ),
    (
        r"found a tab character",
        "a tab where spaces are expected",
        "indent with spaces; YAML allows no tabs there",
    ),
    (
        r"expected alphabetic or numeric",
        "`*` starts an alias and `&` an anchor, and neither is supported",
        _QUOTE,
    ),
    (r"tag", "tags (`!name`) are not supported", "delete the tag, or quote a value that begins with `!`"),
    (
        r"node content",
        "a value is missing here",
        "remove the extra `,`, or quote a value that begins with `]`, `}` or `,`",
    ),
    (
        r"comment or (?:a )?line break|indentation indicator",
        "only an indentation or `-` or `+` may follow `|` or `>` on its line",
        "start the text on the next line",
    ),
    (
        r"document start",
        "nothing may follow the end of the document",
        "delete what follows, or an extra bracket",
    ),
    (r"document indicator", "`---` or `...` inside a quoted value", "indent it, or close the quote above"),
)


def explain(error: yaml.MarkedYAMLError, text: str, location: Location, opened: Location | None) -> Problem:
    """The Problem for a parse error at `location`.

    `opened` is where the construct that is being read began, where the parser knows it: an
    unclosed quote is reported there, since the end of the file helps nobody.
    """
    index = error.problem_mark.index if error.problem_mark else 0
    complaint = error.problem or ""
    if text[index - 1 : index + 2] == "${{":
        dollar = replace(location, column=max(1, location.column - 1))
        return dollar.error("an expression inside [ ] or { } must be quoted", 'quote it: "${{ ... }}"')
    if "cannot start any token" in complaint:
        return _wrong_start(text[index : index + 1], location)
    if opened and "end of stream" in complaint:
        return opened.error("this quote is never closed", "add the closing quote")
    for pattern, message, hint in _EXPLANATIONS:
        if re.search(pattern, complaint):
            if closed := _CLOSED_ABOVE.search(text, 0, index):
                hint = f"`{closed[1]}` on the line above ends its value: delete it there"
            if opened and (line := _line_of_comment(error, text, opened)):
                hint = f"` #` in line {line} began a comment: quote what holds it; else {hint}"
            return location.error(message, hint)
    return location.error(f"not valid YAML: {complaint}", "check this line and the one above")


_CLOSED_ABOVE = re.compile(r"(\[\]|\{\})[ \t]*(?:#[^\r\n]*)?(?:\r\n?|\n)[ \t]*$")
"""An empty list or mapping at the end of the line above, as `pick: []` with items below it."""


def _line_of_comment(error: yaml.MarkedYAMLError, text: str, opened: Location) -> int:
    """The line of the first ` #` in the list or mapping that is being read; 0 where there is none."""
    if error.context_mark is None or error.problem_mark is None:
        return 0
    start = error.context_mark.index
    if text[start : start + 1] not in ("[", "{"):
        return 0
    comment = _COMMENT.search(text, start, error.problem_mark.index)
    return opened.line + len(_LINE_BREAK.findall(text, start, comment.start())) if comment else 0


def _wrong_start(character: str, location: Location) -> Problem:
    if character == "\t":
        return location.error("a tab where spaces are expected", "indent with spaces, not tabs")
    name = "a backtick" if character == "`" else f"`{character}`"
    return location.error(f"an unquoted value cannot begin with {name}", _QUOTE)
