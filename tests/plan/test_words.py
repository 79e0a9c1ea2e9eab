"""What a person may call a task."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.plan.names import names_of_outputs, output_name
from runner.plan.words import TaskWords

PART = st.text(st.sampled_from("abs-1 [é"), min_size=1, max_size=6).filter(lambda part: part.strip(" "))
PATH = st.lists(PART, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".mp4")


@pytest.mark.parametrize(
    ("typed", "here"),
    [
        ("hero-s1", ""),
        ("hero-s1.mp4", ""),
        ("hero-*", ""),
        ("out/film/hero-s1", ""),
        ("out/film/hero-s1.mp4", ""),
        ("out/film/hero-s1.mp4", "jobs"),
        ("../out/film/hero-s1.mp4", "jobs"),
        ("./out/film/hero-s1.mp4", ""),
        ("base/out/film/hero-s1.mp4", ".."),
        ("base/out/*/hero-s1", ".."),
        ("/project/base/out/film/hero-s1.mp4", "elsewhere"),
        ("hero-s1.mp4", "out/film"),
        ("film/hero-s1", "out"),
    ],
)
def test_a_name_and_a_path_from_the_root_or_from_here_mean_the_task(typed: str, here: str) -> None:
    assert TaskWords(typed, "/project/base", f"/project/base/{here}").mean("hero-s1", "out/film/hero-s1.mp4")


@pytest.mark.parametrize(
    ("typed", "here"), [("hero", ""), ("*film*", ""), ("film", ""), ("s1", ""), ("../hero-s1", "jobs")]
)
def test_another_name_and_a_folder_do_not(typed: str, here: str) -> None:
    assert not TaskWords(typed, "/project/base", f"/project/base/{here}").mean(
        "hero-s1", "out/film/hero-s1.mp4"
    )


def test_last_parts_of_a_path_may_mean_it() -> None:
    for typed in ("s1", "hero-s1", "hero/s1", "hero/s1.mp4", "out-hero-s1"):
        assert TaskWords(typed).may_mean("out/hero/s1.mp4")
    assert not TaskWords("ero-s1").may_mean("out/hero/s1.mp4")


def test_names_take_as_few_parts_as_tell_them_apart() -> None:
    assert names_of_outputs(["out/a/s1.mp4", "out/a/s2.mp4"], set()) == ["s1", "s2"]
    assert names_of_outputs(["out/a/s1.mp4", "out/b/s1.mp4"], set()) == ["a-s1", "b-s1"]
    assert names_of_outputs(["out/a/s1.mp4"], {"s1"}) == ["a-s1"]


@given(st.lists(PATH, unique=True, min_size=1, max_size=6))
def test_each_name_is_found_by_its_path_and_ends_with_the_stem(outputs: list[str]) -> None:
    for output, name in zip(outputs, names_of_outputs(outputs, set()), strict=True):
        assert TaskWords(name).may_mean(output)
        assert TaskWords(output).mean(name, output)
        assert TaskWords(name).mean(name, output)
        assert name.endswith(posixpath.basename(output).removesuffix(".mp4"))


def test_one_part_is_the_stem() -> None:
    assert output_name("out/a/hero-s1.mp4") == "hero-s1"
