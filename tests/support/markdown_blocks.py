"""The fenced blocks of a page that a test needs as files."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt


def block_of(page: Path, name: str) -> str:
    """The content of the fence whose info string ends in this file's name."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    (found,) = (
        token.content for token in tokens if token.type == "fence" and token.info.split()[1:] == [name]
    )
    return found
