"""Each broken file of broken/ is told at the line that was hurt, and what the hints say mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.broken_files import BROKEN, CORPUS, Broken, names_its_line
from tests.support.evidence import evidence_but
from tests.support.fixer import paste
from tests.support.validated import problems_of, project_with_inputs

FILES = sorted(BROKEN.glob("*.yaml"))


@pytest.mark.parametrize(
    "file", evidence_but(lambda file: file in FILES[::4], FILES), ids=lambda file: file.stem
)
def test_every_message_names_the_line_that_was_hurt_and_its_hint_mends_it(file: Path, tmp_path: Path) -> None:
    broken = Broken.read(file)
    job = project_with_inputs(tmp_path) / broken.job
    problems = problems_of(broken.text, job)
    assert problems
    assert [each.render(file.name) for each in problems if not names_its_line(broken, each)] == []
    pasted = paste(broken.text, problems)
    if pasted is None:
        assert file.stem in NOTHING_TO_PASTE
    else:
        assert problems_of(pasted, job) == ()


NOTHING_TO_PASTE = frozenset[str]()
"""Files whose hints offer a choice, and so nothing that could be pasted."""


def test_there_are_a_hundred_files_and_every_slip_has_some() -> None:
    slips = [Broken.read(file).slip for file in FILES]
    assert len(slips) >= 100
    assert set(slips) == CORPUS.keys()
