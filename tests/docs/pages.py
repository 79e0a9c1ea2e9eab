"""The documentation as tests see it: pages, their fenced blocks, links, anchors and code spans."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent

GENERATED = frozenset(
    {"docs/reference/commands.md", "docs/reference/errors.md", "docs/reference/expressions.md"}
)
"""scripts/write_reference.py writes them by running what they show; tests/test_reference.py does it again."""

_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `kind` is the first word of its info string, `words` are the others.

    `line` counts from 1. The kind of a block that is only indented is the empty text.
    """

    kind: str
    words: tuple[str, ...]
    body: str
    line: int

    def option(self, name: str) -> str | None:
        """The value of a word such as `exit=65`; None without it."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)


@dataclass(frozen=True, slots=True)
class Page:
    """`spans` are the texts in backticks; `links` are the targets as written, pictures included."""

    path: Path
    blocks: tuple[Block, ...]
    links: tuple[str, ...]
    anchors: frozenset[str]
    spans: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


@functools.cache
def read_page(path: Path) -> Page:
    """A Markdown file, read as GitHub reads it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    inline = [child for token in tokens for child in token.children or ()]
    return Page(
        path,
        blocks=tuple(_block(token) for token in tokens if token.type in ("fence", "code_block")),
        links=tuple(_links(inline)),
        anchors=frozenset(_anchors(tokens)),
        spans=tuple(child.content for child in inline if child.type == "code_inline"),
    )


def all_pages() -> list[Page]:
    """README.md, CONTRIBUTING.md and every page below docs/."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [read_page(file) for file in files]


def played_pages() -> list[Page]:
    """The pages that are scripts to be played: those with blocks, but for the generated ones."""
    return [page for page in all_pages() if page.blocks and page.name not in GENERATED]


def _block(token: Token) -> Block:
    kind, *words = shlex.split(token.info) or [""]
    assert token.map is not None
    return Block(kind, tuple(words), token.content, token.map[0] + 1)


def _links(inline: Sequence[Token]) -> Iterator[str]:
    for token in inline:
        target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
        if isinstance(target, str):
            yield target


def _anchors(tokens: Sequence[Token]) -> Iterator[str]:
    """The ids that GitHub gives to headings: small letters, `-` for spaces, `-1` for the second of a name."""
    seen: dict[str, int] = {}
    for opening, heading in itertools.pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in heading.children or ())
        anchor = _NOT_IN_ANCHORS.sub("", text.lower()).replace(" ", "-")
        number = seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{number}" if number else anchor
