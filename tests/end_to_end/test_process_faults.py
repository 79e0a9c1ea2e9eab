"""Rows of the fault table that are about where a process starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.end_to_end.conftest import SWEEP, Film
from tests.support.command import callsheet

KEY = "rsk_sandbox"


@pytest.mark.fault(31)
def test_a_state_directory_that_cannot_be_made_is_exit_73(film: Film) -> None:
    """A file stands in its place: mode bits would not stop root, under whom tests may run."""
    job = film.write(SWEEP)
    film.base.write_text("in the way")
    refused = film.call("run", job)
    assert refused.returncode == ExitCode.NO_PROJECT, refused.stderr
    assert "cannot write" in refused.stderr
    assert film.server.accepted == 0


@pytest.mark.fault(54)
def test_outside_of_a_project_nothing_is_sent(film: Film, tmp_path: Path) -> None:
    job = tmp_path / "stray.yaml"
    job.write_text(SWEEP)
    refused = callsheet("run", job, "--base-url", film.server.url, cwd=film.root, MESHAPI_API_KEY=KEY)
    assert refused.returncode == ExitCode.NO_PROJECT, refused.stderr
    assert film.server.accepted == 0
