"""What pages name exists: other pages and their headings, verbs and options, files of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from runner.cli.main import VERBS, callsheet
from tests.docs.pages import GENERATED, ROOT, Block, Page, all_pages, read_page

_COMMAND = re.compile(r"(?:^|[^\w./-])callsheet\s+((?:-\S+\s+)*)([a-z]+)\b([^\n|&;#]*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_FILE = re.compile(r"(?:runner|schemas|jobs|tests|docs|scripts|benchmarks|examples)/[\w./-]*")

_NOT_OURS = frozenset({"--seed"})
"""Flags that a prompt may hold; the rule `prompt-flags` finds them."""
_OF_SCRIPTS = frozenset(
    option
    for script in [*(ROOT / "scripts").glob("*"), *(ROOT / "tests").glob("*/__main__.py")]
    if script.is_file()
    for option in _OPTION.findall(script.read_text(encoding="utf-8"))
)

PAGES = pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)


@PAGES
def test_every_link_leads_somewhere(page: Page) -> None:
    assert [link for link in page.links if not _is_sound(page, link)] == []


def _is_sound(page: Page, link: str) -> bool:
    if link.startswith("https://"):
        return True
    path, _, anchor = unquote(link).partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or (target.suffix == ".md" and anchor in read_page(target).anchors)


@PAGES
def test_every_verb_and_option_exists(page: Page) -> None:
    assert list(_unknown(page)) == []


def _unknown(page: Page) -> Iterator[str]:
    shown = {"docs/reference/errors.md"} & {page.name}  # its commands are wrong on purpose
    blocks = (
        () if shown else (block.body.replace("\\\n", " ") for block in page.blocks if block.kind != "yaml")
    )
    for text in [*page.spans, *blocks]:
        for before, verb, after in _COMMAND.findall(text):
            if verb not in VERBS:
                yield f"callsheet {verb}"
                continue
            yield from (
                f"callsheet {verb} {option}"
                for option in _OPTION.findall(f"{before} {after}")
                if option not in _options(verb)
            )
    known = set.union(*map(_options, VERBS)) | _NOT_OURS | _OF_SCRIPTS
    own = [span for span in page.spans if span.startswith(("--", "scripts/"))]
    yield from (option for span in own for option in _OPTION.findall(span) if option not in known)


def _options(verb: str) -> set[str]:
    with click.Context(callsheet, info_name="callsheet") as context:
        command = callsheet.get_command(context, verb)
        assert command is not None
        parameters = [*command.params, *callsheet.params]
    return {name for one in parameters for name in (*one.opts, *one.secondary_opts)} | {"--help"}


@PAGES
def test_every_file_of_the_repository_that_is_named_exists(page: Page) -> None:
    """A job file may also be one that the page, or `init`, has written."""
    if page.name not in GENERATED:  # those name files of the projects that they were made in
        assert _missing(page) == []


def _missing(page: Page) -> list[str]:
    written = {word for block in page.blocks for word in block.words} | {"jobs/hello.yaml"}
    named = [span for span in page.spans if _FILE.fullmatch(span)]
    return [name for name in named if name not in written and not (ROOT / name).exists()]


@pytest.mark.parametrize(
    ("links", "spans", "body"),
    [
        (["how-to/nowhere.md"], [], ""),
        (["how-to/cron.md#no-such-heading"], [], ""),
        (["http://example.com/"], [], ""),
        (["../../outside"], [], ""),
        ([], ["callsheet nowhere"], ""),
        ([], ["callsheet run --sandbxo"], ""),
        ([], ["--no-such-option"], ""),
        ([], ["scripts/test --no-such-option"], ""),
        ([], ["runner/nowhere.py"], ""),
        ([], ["jobs/nowhere.yaml"], ""),
        ([], [], "callsheet plan \\\n  --no-such-option jobs/hello.yaml"),
        ([], [], "cd film && callsheet --quiet plna jobs/hello.yaml"),
    ],
)
def test_what_does_not_exist_is_found(links: list[str], spans: list[str], body: str) -> None:
    page = Page(
        ROOT / "docs" / "page.md", (Block("sh", (), body, 1),), tuple(links), frozenset(), tuple(spans)
    )
    found = [link for link in links if not _is_sound(page, link)] + list(_unknown(page)) + _missing(page)
    assert len(found) == 1


def test_every_page_is_in_the_index() -> None:
    """A page that nothing leads to is read by nobody."""
    index = read_page(ROOT / "docs" / "README.md")
    led_to = {(index.path.parent / link.partition("#")[0]).resolve() for link in index.links}
    pages = set((ROOT / "docs").rglob("*.md")) - {index.path}
    assert sorted(page.name for page in pages - led_to) == []


@pytest.mark.parametrize(
    "note", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda file: file.stem
)
def test_a_decision_is_short(note: Path) -> None:
    assert len(note.read_text(encoding="utf-8").splitlines()) <= 25
