"""Every block of README.md and docs/ is played, each page as one script; see CONTRIBUTING.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.docs.fragment import put_into
from tests.docs.pages import ROOT, Block, Page, all_pages, played_pages, read_page
from tests.docs.player import KINDS, REASONS, PageError, Player, make_project


def _weighed(page: Page) -> ParameterSet:
    """Pages are many, and each starts a dozen processes."""
    marks = [] if page.name in ("README.md", "docs/tutorial/first-film.md") else [pytest.mark.evidence]
    return pytest.param(page, marks=marks, id=page.name)


@pytest.mark.parametrize("page", [_weighed(page) for page in played_pages()])
def test_a_page_does_what_it_says(
    page: Page, shell: Mapping[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if any("$CALLSHEET_LEDGER" in block.body or "ledger copy" in block.body for block in page.blocks):
        shell = {**shell, "CALLSHEET_LEDGER": request.getfixturevalue("ledger_url")}
    Player(page, make_project(tmp_path), shell).play()


def test_readme_shows_the_job_file_that_init_writes(tmp_path: Path) -> None:
    shown = next(block.body for block in read_page(ROOT / "README.md").blocks if block.kind == "yaml")
    written = make_project(tmp_path) / "jobs" / "hello.yaml"
    assert written.read_text(encoding="utf-8").endswith("\n" + shown)


def test_the_provider_that_a_page_writes_step_by_step_is_short_and_imports_only_public_modules() -> None:
    blocks = read_page(ROOT / "docs" / "how-to" / "providers.md").blocks
    written = {block.words[0]: block.body for block in blocks if block.words[:1] and "/" in block.words[0]}
    contract = (ROOT / "docs" / "reference" / "provider.md").read_text(encoding="utf-8")
    public = set(re.findall(r"^\| `(runner[\w.]*)` \|", contract, re.M))
    imported = {
        name for body in written.values() for name in re.findall(r"^ *from (runner[\w.]*) import", body, re.M)
    }
    assert imported
    assert imported <= public
    assert sum(body.count("\n") for body in written.values()) < 300


def test_every_block_has_a_kind_that_is_known() -> None:
    unknown = [
        f"{page.name}:{block.line}: {block.kind or 'no kind'}"
        for page in all_pages()
        for block in page.blocks
        if block.kind not in KINDS
    ]
    assert unknown == []


def test_what_is_not_executed_has_one_of_few_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    """They are printed, so that a person sees how many there are."""
    blocks = [
        (f"{page.name}:{block.line}", reason)
        for page in all_pages()
        for block in page.blocks
        if (reason := block.option("unexecuted")) is not None
    ]
    with capsys.disabled():
        for place, reason in blocks:
            print(f"\nnot executed: {place}: {reason}", end="")
    assert {reason for _, reason in blocks} <= REASONS
    assert 0 < len(blocks) <= 20


def _page(tmp_path: Path, *blocks: Block) -> Page:
    return Page(tmp_path / "page.md", blocks, (), frozenset(), ())


@pytest.mark.parametrize(
    "blocks",
    [
        [Block("sh", (), "false; echo on", 1)],
        [Block("sh", (), "false | true", 1)],
        [Block("sh", ("exit=3",), "exit 4", 1)],
        [Block("sh", (), "echo 'one two'", 1), Block("text", (), "one three", 2)],
        [Block("sh", (), "printf 'a\\nb\\nc\\n'", 1), Block("text", (), "a\nc", 2)],
        [Block("text", (), "nobody printed this", 1)],
        [Block("yaml", (), "seeds: 1..2", 1)],
        [Block("yaml", ("jobs/a.yaml",), "version: 1\nmodles: []", 1)],
        [Block("yaml", ("into", "jobs/hello.yaml", "invalid"), "seeds: 1..3", 1)],
        [Block("yaml", ("into", "jobs/storyboard.yaml", "steps.nowhere"), "seeds: 1..3", 1)],
        [Block("json", ("a.json",), "{,}", 1)],
        [Block("python", (), "assert False", 1)],
        [Block("console", (), "$ ls", 1)],
    ],
    ids=lambda blocks: blocks[-1].body,
)
def test_a_page_that_is_wrong_is_found(
    blocks: list[Block], shell: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    with pytest.raises(PageError):
        Player(_page(tmp_path, *blocks), make_project(tmp_path), shell).play()


def test_a_block_begins_where_the_one_before_has_ended(
    shell: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directory, exported variables and processes in the background live as long as the page."""
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    blocks = [
        Block("sh", (), "cd jobs; export TAKE='a b'; (sleep 0.2; echo late; sleep 60) &", 1),
        Block("text", (), "late", 2),
        Block("sh", (), 'echo "${PWD##*/} $TAKE"; echo two; echo three four', 3),
        Block("text", (), "jobs a b\n...\nthree ...", 4),
    ]
    player = Player(_page(tmp_path, *blocks), make_project(tmp_path), shell)
    player.play()
    assert player.is_running_on is False


def test_a_fragment_takes_the_place_of_its_keys_alone() -> None:
    text = "a: 1  # one\n\n# of b\nb:\n  c: 2\n  d:\n    - 3\ne: 4\n"
    assert put_into(text, "b: 5") == "a: 1  # one\n\n# of b\nb: 5\ne: 4\n"
    assert put_into(text, "    d: 6\n", below="b") == "a: 1  # one\n\n# of b\nb:\n  c: 2\n  d: 6\ne: 4\n"
    assert put_into(text, "f:\n  g: 7") == text + "f:\n  g: 7\n"
