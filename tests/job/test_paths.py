"""Outputs: readable names, and no way out of the base directory."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.expressions.paths import collision_key, compile_output, confine, what_is_wrong
from runner.job.problems import ProblemError, Problems
from runner.job.yaml.nodes import Location, Scalar
from runner.slug import MOST_BYTES, slug
from tests.support.job_bench import HEAD, TEXT, JobBench


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16:9", "16x9"),
        ("teapot", "teapot"),
        ("Tea pot, at dawn!", "Tea-pot-at-dawn"),
        ("a/b\\c", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", ""),
        (".hidden", "hidden"),
        ("a..b", "a.b"),
        ("a\0b\nc\u202ed", "a-b-c-d"),
        ("café", "café"),
        ("cafe\u0301", "caf\u00e9"),
        ("朝の港", "朝の港"),
        ("🎬 take", "🎬-take"),
        ("con", "con_"),
        ("NUL", "NUL_"),
        ("com1.txt", "com1_.txt"),
        ("///", ""),
        ("x" * 200, "x" * MOST_BYTES),
        ("é" * 100, "é" * 60),
    ],
)
def test_a_slug_stays_readable(text: str, expected: str) -> None:
    assert slug(text) == expected


@pytest.mark.security(4)
@given(st.text(max_size=300))
def test_a_slug_is_one_safe_component(text: str) -> None:
    """Security line 4."""
    found = slug(text)
    assert not set(found) & set('/\\\0:*?"<>| \n')
    assert found not in (".", "..")
    assert ".." not in found
    assert not found.startswith((".", "-"))
    assert len(found.encode()) <= MOST_BYTES
    assert found == unicodedata.normalize("NFC", found)
    assert slug(found) == found


@pytest.mark.security(4)
@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_no_output_ever_escapes(tmp_path_factory: pytest.TempPathFactory, one: str, other: str) -> None:
    base = Path(tmp_path_factory.getbasetemp()) / "base"
    base.mkdir(exist_ok=True)
    text = "out/${{ a }}/.${{ b }}..${{ a }}.mp4"
    problems = Problems()
    node = Scalar(text, text, True, Location(1, 1))
    template = problems.gather(compile_output(node, {"a": None, "b": None}))
    assert template is not None
    assert not problems.errors
    try:
        path = template.render({"a": one, "b": other})
    except ProblemError:
        return
    assert confine(base, path).is_relative_to(base.resolve())
    assert len(PurePosixPath(path).parts) == 3


@pytest.mark.parametrize(
    "path",
    [
        "out/a.mov",
        "out/.mp4",
        ".mp4",
        "/abs/a.mp4",
        "~/a.mp4",
        "../a.mp4",
        "out/../a.mp4",
        "out//a.mp4",
        "./a.mp4",
        "out\\a.mp4",
        "out/a\0.mp4",
        "out/a\u202e.mp4",
        ".callsheet/a.mp4",
        "out/.CALLSHEET/a.mp4",
        "out/" + "a" * 200 + ".mp4",
        "a/" * 500 + "a.mp4",
    ],
)
def test_a_wrong_path_is_told_before_anything_runs(jobs: JobBench, path: str) -> None:
    assert what_is_wrong(path)
    quoted = '"' + path.replace("\\", "\\\\").replace("\0", "\\0").replace("\u202e", "\\u202e") + '"'
    [problem] = jobs.problems(HEAD + TEXT + f"output: {quoted}\n")
    assert problem.startswith("jobs/hero.yaml:4:9: output: ")


def test_the_suffix_is_named(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + TEXT + "output: out/a.mov\n")
    assert "must end in .mp4" in problem


def test_a_value_that_leaves_nothing_is_told(jobs: JobBench) -> None:
    [problem] = jobs.problems(
        HEAD
        + "matrix: {shot: ['///', b]}\n"
        + "content: [{type: text, text: '${{ shot }}'}]\noutput: out/${{ shot }}.mp4\n"
    )
    assert "leaves nothing" in problem


def test_an_object_in_a_path_names_a_way_out(jobs: JobBench) -> None:
    text = (
        HEAD + "matrix: {shot: [{id: a, p: b}]}\n"
        "content: [{type: text, text: '${{ shot.p }}'}]\noutput: out/${{ shot }}.mp4\n"
    )
    [problem] = jobs.problems(text)
    assert "use one part: `shot.id`" in problem


@pytest.mark.security(4)
def test_a_link_that_leads_out_is_refused(jobs: JobBench, tmp_path: Path) -> None:
    """Security line 4: through symlinked parents too."""
    (tmp_path / "elsewhere").mkdir()
    (jobs.root / "out").symlink_to(tmp_path / "elsewhere")
    [problem] = jobs.problems(HEAD + TEXT + "output: out/deep/a.mp4\n")
    assert "leaves the project root through a link" in problem
    with pytest.raises(ValueError, match="through a link"):
        confine(jobs.root, "out/a.mp4")


def test_letter_case_and_unicode_form_collide() -> None:
    assert collision_key("out/A.mp4") == collision_key("out/a.mp4")
    assert collision_key("out/cafe\u0301.mp4") == collision_key("out/caf\u00e9.mp4")
    assert collision_key("out/a.mp4") != collision_key("out/b.mp4")


def test_two_cells_with_one_path_are_told_with_a_way_out(jobs: JobBench) -> None:
    [problem] = jobs.problems(HEAD + "matrix: {ratio: [16:9, 1:1]}\n" + TEXT + "output: out/a.mp4\n")
    assert "cells 0 (16x9) and 1 (1x1) write the same file, out/a.mp4" in problem
    assert "out/a-${{ ratio }}.mp4" in problem


def test_many_cells_with_one_path_are_one_problem_with_a_template_that_mends_all(jobs: JobBench) -> None:
    cells = "seeds: 1..60\nmatrix: {ratio: [16:9, 1:1]}\n"
    [problem] = jobs.problems(HEAD + cells + TEXT + "output: out/a.mp4\n")
    assert "write the same file, out/a.mp4; more cells that share a file: 118" in problem
    assert all(f"${{{{ {name} }}}}" in problem for name in ("seed", "ratio"))
    template = re.search(r"out/a[^`]*\.mp4", problem.partition("hint: ")[2])
    assert template is not None
    jobs.plan(HEAD + cells + TEXT + f"output: {template[0]}\n")


def test_paths_that_differ_in_letter_case_only_are_one(jobs: JobBench) -> None:
    [problem] = jobs.problems(
        HEAD + "matrix: {shot: [Pour, pour]}\ncontent: [{type: text, text: '${{ shot }}'}]\n"
        "output: out/${{ shot }}.mp4\n"
    )
    assert "write out/Pour.mp4 and out/pour.mp4, one file on a disk that ignores case" in problem


@pytest.mark.parametrize(
    ("lines", "outputs"),
    [
        ("", ["out/hero/hero.mp4"]),
        ("name: Tea launch\nseeds: 1..2\n", ["out/Tea-launch/s1.mp4", "out/Tea-launch/s2.mp4"]),
        ("matrix: {ratio: [16:9], camera_fixed: [true]}\n", ["out/hero/16x9-camera_fixed-yes.mp4"]),
        ("matrix: {duration: [5, 10]}\n", ["out/hero/duration-5.mp4", "out/hero/duration-10.mp4"]),
        ("matrix: {ratio: [null, 1:1]}\n", ["out/hero/ratio-none.mp4", "out/hero/1x1.mp4"]),
    ],
)
def test_without_a_template_the_cell_names_the_file(jobs: JobBench, lines: str, outputs: list[str]) -> None:
    assert [task.output for task in jobs.tasks(HEAD + lines + TEXT)] == outputs
