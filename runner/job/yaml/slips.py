"""Slips of a hand, and how a line looks without them: the changes that `mend` tries.

Each row is an idea of what went wrong, not a verdict: `mend` tells only what makes the file pass.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.plural import count
from runner.spelling import name_of


@dataclass(frozen=True, slots=True)
class Slip:
    """`message` says what is wrong with the line, if it should read `line`. `hint` is empty where the
    change itself is the hint."""

    line: str
    message: str
    hint: str = ""


_LEAD = r"^(?P<lead>\s*(?:-\s+)*)"
_KEY = r"(?P<key>[\w.-]+)"
_END = r"(?P<end>\s*(?:\s\#.*)?)$"
_WORD = r"[\w.-]"

_SHAPES: tuple[tuple[str, str, str], ...] = (
    (r"(?<![^\s{,])(?P<key>[A-Za-z_][\w.-]*):(?=[^\s/])", r"\g<key>: ", "no space after the `:`"),
    (rf"{_LEAD}{_KEY}\s*(?P<sign>=|;|->|=>)\s*", r"\g<lead>\g<key>: ", "`{sign}` instead of a `:`"),
    (rf"{_LEAD}{_KEY}(?=\s|$)(?!\s*:) ?", r"\g<lead>\g<key>: ", "no `:` after `{key}`"),
    (r"^(?P<lead>\s*)-(?=[^\s-])", r"\g<lead>- ", "no space after the `-`"),
    (
        r"^(?P<lead>\s*)(?P<sign>[*+•–—‐‑−])\s*(?=\S)",
        r"\g<lead>- ",
        "a list item begins with `-`, not `{sign}`",
    ),
    (r"^(?P<lead>\s*)  (?=[^\s#-])", r"\g<lead>- ", "no `-` before this list item"),
    (r"^(?P<lead>\s*)(?=[^\s#-])", r"\g<lead>- ", "no `-` before this list item"),
    (
        rf"^(?P<lead>\s*(?:-\s+)?(?:{_WORD}+:\s+)?)(?P<quote>[\"'])(?P<value>.*?){_END}",
        r"\g<lead>\g<quote>\g<value>\g<quote>\g<end>",
        "this quote is never closed",
    ),
    (
        rf"^(?P<lead>\s*(?:-\s+)?(?:{_WORD}+:\s+)?)\"(?P<value>[^']*\"[^']*?)\"{_END}",
        r"\g<lead>'\g<value>'\g<end>",
        'a `"` inside ends this quote',
    ),
    (
        rf"^(?P<lead>\s*(?:-\s+)?(?:{_WORD}+:\s+)?)(?P<value>\"[^']+?){_END}",
        r"\g<lead>'\g<value>'\g<end>",
        "only a part of this value is quoted",
    ),
    (
        rf"^(?P<lead>\s*(?:-\s+)?(?:{_WORD}+:\s+)?)'(?P<value>[^\"]*'[^\"]*?)'{_END}",
        r'\g<lead>"\g<value>"\g<end>',
        "a `'` inside ends this quote",
    ),
    (
        rf"^(?P<lead>\s*(?:-\s+)?(?:{_WORD}+:\s+)?)(?P<quote>[\"'])(?P<value>.*?){_END}",
        r"\g<lead>\g<value>\g<end>",
        "this quote is never closed",
    ),
    (rf"(?<=[\w.)!?,])(?P<quote>[\"'])(?={_WORD}*:|{_END})", "", "a quote that nothing opened"),
    (
        rf"^(?P<lead>\s*(?:-\s+)?{_WORD}+:\s+|\s*-\s+)(?P<value>[^\s\"'].*?\S\s\#.*\S)\s*$",
        r'\g<lead>"\g<value>"',
        "` #` starts a comment, so the rest of the line is lost",
    ),
    (
        rf"^(?P<lead>\s*(?:-\s+)?{_WORD}+:\s+|\s*-\s+)(?P<value>[^\s\"'](?:.*?\S)??){_END}",
        r'\g<lead>"\g<value>"\g<end>',
        "this value has a sign that YAML reads as its own, so it needs quotes",
    ),
    (r"\$\{(?!\{)", "${{", "an expression begins with `${{{{`"),
    (r"(?<!\$)\{\{", "${{", "an expression begins with `${{{{`"),
    (r"(?<!\})\}(?!\})", "}}", "an expression ends with `}}}}`"),
    (r"(?P<lead>\$\{\{\s*[\w.]+) *(?=$|[^\w\s.}|])", r"\g<lead> }}", "an expression ends with `}}}}`"),
    (rf"(?P<value>\S){_END}", r"\g<value>]\g<end>", "this list is never closed"),
    (rf"(?P<value>\S){_END}", r"\g<value>}\g<end>", "this mapping is never closed"),
    (rf"(?P<value>\S){_END}", r"\g<value>}]\g<end>", "this list is never closed"),
    (rf"(?<=\S)(?P<sign>[]}}]){_END}", r"\g<end>", "a `{sign}` that nothing opened"),
    (r"(?P<lead>\[[^]}]*\{[^]}]*)(?=\])", r"\g<lead>}", "this mapping is never closed"),
    (r"(?P<lead>\{[^]}]*\[[^]}]*)(?=\})", r"\g<lead>]", "this list is never closed"),
    (
        rf"{_LEAD}(?P<key>{_WORD}+: +)?(?P<value>[^\s[{{].*[]])",
        r"\g<lead>\g<key>[\g<value>",
        "this list is never opened",
    ),
    (
        rf"{_LEAD}(?P<key>{_WORD}+: +)?(?P<value>[^\s[{{].*[}}])",
        r"\g<lead>\g<key>{\g<value>",
        "this mapping is never opened",
    ),
    (r"(?<=\w)(?=\s*(?:,|[]}]|$))", "}", "this mapping is never closed"),
    (r"(?<=[\w:] )(?=\w)", "{", "this mapping is never opened"),
    (r"(?<=\w)(?=\s*(?:,|[]}]|$))", "]", "this list is never closed"),
    (r"(?<=[]\w\"'}]) +(?=[\w\"'{[])", ", ", "no `,` between two items"),
    (rf"(?<=\S)(?P<sign>[,;.]){_END}", r"\g<end>", "a `{sign}` after the value"),
    (r"(?<=: )(?P<sign>[#&*!%@`])(?=\w)(?!\w+%)", "", "a value begins with `{sign}`"),
    (r"(?<=\s)(?P<sign>//|--|;)(?=\s)", "#", "a comment begins with `#`, not `{sign}`"),
    (rf"(?<=: )[\"'](?P<value>-?\d[\d.]*|true|false){_END}", r"\g<value>\g<end>", "a number needs no quotes"),
    (
        rf"(?<=: )[\"'](?P<value>-?\d[\d.]*|true|false)[\"']{_END}",
        r"\g<value>\g<end>",
        "must be a number or true or false, not text",
    ),
    (
        rf"(?<=: )(?P<value>\d+)\s+(?P<unit>[A-Za-z]+){_END}",
        r"\g<value>\g<unit>\g<end>",
        "one word, without a space",
    ),
    (
        rf"(?<=: )(?P<value>\d+(?:\.\d+)?)\s*[A-Za-z\"]+\.?{_END}",
        r"\g<value>\g<end>",
        "a number goes without its unit",
    ),
    (
        rf"(?<=: )(?P<value>\d{{1,3}}),(?P<part>\d{{3}}){_END}",
        r"\g<value>\g<part>\g<end>",
        "a number has no `,`: this is {value}{part} or {value}.{part}",
    ),
    (
        rf"(?<=: )(?P<value>\d+),(?P<part>\d+){_END}",
        r"\g<value>.\g<part>\g<end>",
        "a decimal sign is a `.`, not a `,`",
    ),
    (rf"(?<=: )(?P<value>\d+)[.,]\d+{_END}", r"\g<value>\g<end>", "must be a whole number"),
    (r"(?<=: )(?P<sign>[$€£])\s*(?=\d)", "", "an amount goes without its `{sign}`"),
    (
        rf"^(?P<lead>\s*)model: +(?P<value>[^\s[]\S*){_END}",
        r"\g<lead>models: [\g<value>]\g<end>",
        "`models` is a list",
    ),
    (
        rf"^(?P<lead>\s*- +)text: +(?P<value>[\"'].*?[\"']){_END}",
        r"\g<lead>{type: text, text: \g<value>}\g<end>",
        "a prompt is an item of type `text`",
    ),
    (
        rf"^(?P<lead>\s*- +)(?:text: +)?(?P<value>(?!{_WORD}+:\s)[^\s{{[\"'#-].*?){_END}",
        r'\g<lead>{type: text, text: "\g<value>"}\g<end>',
        "a prompt is an item of type `text`",
    ),
    (
        rf"^(?P<lead>\s*content: +)\[(?P<value>[^\]\[{{}}\"':,]+)\]{_END}",
        r'\g<lead>[{type: text, text: "\g<value>"}]\g<end>',
        "a prompt is an item of type `text`",
    ),
    (
        rf"(?<=seeds: )(?P<value>\d+)\s*(?:-|\.{{3}}|to|:)\s*(?P<last>\d+){_END}",
        r"\g<value>..\g<last>\g<end>",
        "a range is written with `..`",
    ),
    (rf"(?<=: )(?i:yes|on|y|1){_END}", r"true\g<end>", "must be true or false"),
    (rf"(?<=: )(?i:no|off|n|0){_END}", r"false\g<end>", "must be true or false"),
    (rf"(?<=\w: )(?P<value>[^\s[{{](?:.*?\S)??){_END}", r"[\g<value>]\g<end>", "must be a list"),
    (
        rf"(?P<lead>\boutput: +)(?:\w+://[^\s/]*/|[~.]*/+)(?:out/)?(?P<value>\S.*?){_END}",
        r"\g<lead>out/\g<value>\g<end>",
        "an output is a path below the project root, not a URL or an absolute path",
    ),
    (
        rf"(?P<lead>\boutput: +)(?P<value>[^\s\"'].*?)(?:\.\w{{1,4}})?{_END}",
        r"\g<lead>\g<value>.mp4\g<end>",
        "an output is a video, so its name must end in .mp4",
    ),
    (
        rf"^(?P<lead>\s*)(?:content|prompt|text): +(?P<value>[^\s[{{\"'](?:.*?\S)??){_END}",
        r'\g<lead>content: [{type: text, text: "\g<value>"}]\g<end>',
        "`content` is a list of items, and a prompt is one of them",
    ),
    (rf"(?<=[\]}}\"'\w]){_END}", r",\g<end>", "no `,` between two items"),
)
"""(pattern, what stands in its place, message) for one place of a line; the first row that helps is told."""

_ROWS = tuple((re.compile(pattern), put, message) for pattern, put, message in _SHAPES)

_PLAIN = str.maketrans({
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    "\uff1a": ": ",
})  # fmt: skip
_SURROGATES = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


_CAPITALS = re.compile(r"\$\{\{.*?\}\}|\.\w+(?=\s|$)")


_KEY_OF_WORDS = re.compile(r"[a-z]+(?: [a-z]+)+(?=:\s)")


def slips(line: str) -> Iterator[Slip]:
    """Every change of the `line` alone that the table has, those of single characters first."""
    yield from _foreign(line)
    small = _CAPITALS.sub(lambda found: found[0].lower(), line)
    if small != line:
        yield Slip(small, "capital letters make another name")
    joined = _KEY_OF_WORDS.sub(lambda found: found[0].replace(" ", "_"), line)
    if joined != line:
        yield Slip(joined, "a space in a key")
    for pattern, put, message in _ROWS:
        for found in pattern.finditer(line):
            changed = line[: found.start()] + found.expand(put) + line[found.end() :]
            if changed != line:
                yield Slip(changed, message.format_map(found.groupdict()))


def _foreign(line: str) -> Iterator[Slip]:
    """Characters that look like one of YAML's own, or like nothing at all."""
    if line.isascii():
        if found := _SURROGATES.search(line):
            whole = _SURROGATES.sub(_joined, line)
            yield Slip(whole, f"`{found[0]}` is JSON's way to write `{_joined(found)}`, and not YAML's")
        return
    spaces = [c for c in line if c != " " and unicodedata.category(c) == "Zs"]
    if spaces:
        plain = "".join(" " if c in spaces else c for c in line)
        told = f"{name_of(spaces[0])} where a plain space belongs"
        yield Slip(plain, told, "write plain spaces in this line")
        bare = line.lstrip("".join(spaces))
        yield Slip(bare, told, f"indent this line by {count(_indent(bare), 'space')}")
    plain = line.translate(_PLAIN)
    odd = [c for c in line if c.translate(_PLAIN) != c]
    for changed in dict.fromkeys((plain, re.sub(r"(?<=:) +", " ", plain))):
        if odd and changed != line:
            yield Slip(changed, f"{name_of(odd[0])} where a plain character belongs")


def _joined(pair: re.Match[str]) -> str:
    return bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be")


def indents(lines: Sequence[str], index: int) -> Iterator[int]:
    """The columns at which the line may have to begin: those of the lines around it, the nearest first."""
    own = _indent(lines[index])
    found = {0}
    for line in lines[max(0, index - 12) : index + 12]:
        if line.strip() and not line.lstrip().startswith("#"):
            at = _indent(line)
            found |= {at, at + 2}
            if line.lstrip().startswith("- "):
                found.add(at + 2)
    yield from sorted(
        found - ({own} if "\t" not in lines[index][:own] else set()), key=lambda at: (abs(at - own), at)
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


_NAME = re.compile(r"[^\s,:;={}\[\]\"'`|#]+")
_IN_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_ONE_VALUE = re.compile(r"\s*(?:-\s+)*(?:[^\s:]+:(?:\s+|$))?(?:[^\s#]+\s*)?(?:\s#.*)?$")


@dataclass(frozen=True, slots=True)
class Name:
    """A word of the file that may be misspelt, and where it stands."""

    text: str
    index: int
    start: int


def names(lines: Sequence[str]) -> Iterator[Name]:
    """The keys, the values of one word, and the names in expressions; no word of a prompt."""
    for index, line in enumerate(lines):
        for start, end in _spans(line):
            for found in _NAME.finditer(line, start, end):
                yield Name(found[0], index, found.start())
                if "." in found[0] and "/" not in found[0]:
                    at = found.start()
                    for part in found[0].split("."):
                        yield Name(part, index, at)
                        at += len(part) + 1


def _spans(line: str) -> Iterator[tuple[int, int]]:
    if line.lstrip().startswith("#"):
        return
    code = re.sub(r"\s#.*$", "", line)
    value = code.lstrip(" -")
    is_prose = not (_ONE_VALUE.match(line) or re.search(r"[:-]\s+[\[{]", code))
    if not is_prose:
        yield 0, len(code)
        return
    key = re.match(r"\s*(?:-\s+)*[^\s:]+(?=:\s)", code)
    if key and value:
        yield 0, key.end()
    for found in _IN_EXPRESSION.finditer(code):
        yield found.span(1)
