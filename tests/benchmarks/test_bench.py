"""The benchmarks run: their figures mean nothing here, only that each of them is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import polling
from benchmarks.__main__ import QUICK
from benchmarks.clip import make_clip
from benchmarks.makespan import best_possible
from runner.media.video import probe
from tests.support.command_process import CHECKOUT


@pytest.mark.parametrize("name", sorted(QUICK))
def test_each_benchmark_runs_and_tells_its_figures(name: str, tmp_path: Path) -> None:
    told = tmp_path / "figures.json"
    # a cluster that it makes ends with it, not with this worker
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # a file and no pipe: what ends the cluster has it open until then
    with (tmp_path / "output.txt").open("w") as output:
        subprocess.run(
            [sys.executable, "-m", "benchmarks", "--quick", name, "--json", told],
            cwd=CHECKOUT,
            env={**own, "PYTHONPATH": str(CHECKOUT)},
            check=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=100,
        )
    figures = json.loads(told.read_text(encoding="utf-8"))["figures"]
    assert figures
    assert all(figure["bench"] == name for figure in figures)
    # an idle machine may interrupt nothing
    assert all(figure["value"] > 0 or "involuntary" in figure["what"] for figure in figures)


def test_the_canned_result_is_a_video_of_the_size_that_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(make_clip(1_000_000))
    assert file.stat().st_size == 1_000_000
    with file.open("rb") as opened:
        assert probe(opened).codec == "h264"


def test_a_clip_cannot_be_smaller_than_its_content() -> None:
    with pytest.raises(ValueError, match="too few"):
        make_clip(100)


def test_the_best_possible_makespan_begins_a_task_whenever_one_ends() -> None:
    assert best_possible([3.0, 1.0, 1.0, 4.0], 2) == 6.0
    assert best_possible([3.0, 1.0], 5) == 3.0


def test_the_fixed_loop_is_measured_as_it_is() -> None:
    """A look every 5 s at a task of 12 s: three looks, the last 3 s late."""
    assert polling.follow(lambda age: 5.0, [12.0]) == (3.0, 3.0)


def test_backoff_starts_again_for_each_task() -> None:
    assert polling.follow(polling.backing_off(1.0, 2.0, 4.0), [2.5, 2.5]) == (2.0, 0.5)
