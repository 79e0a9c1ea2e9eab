"""The names under which older takes are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.store.versions import names_of_take, version_of, version_path

_NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("path", "number", "version"),
    [
        ("out/s1.mp4", 1, "out/s1.v1.mp4"),
        ("out/s1-2.mp4", 12, "out/s1-2.v12.mp4"),
        ("out/s1.last.png", 3, "out/s1.v3.last.png"),
        ("out/s1.v1.mp4", 2, "out/s1.v1.v2.mp4"),
        ("out.d/clip.webm", 1, "out.d/clip.v1.webm"),
    ],
)
def test_a_version_stands_beside_its_take(path: str, number: int, version: str) -> None:
    assert version_path(path, number) == version
    assert version_of(version) == (path, number)


@given(
    folder=_NAMES,
    name=_NAMES,
    suffix=st.sampled_from([".mp4", ".last.png", ".webm"]),
    number=st.integers(1, 99),
)
def test_each_version_names_its_take(folder: str, name: str, suffix: str, number: int) -> None:
    path = f"{folder}/{name}{suffix}"
    assert version_of(version_path(path, number)) == (path, number)


@pytest.mark.parametrize(
    "path", ["out/s1.mp4", "out/s1.v0.mp4", "out/s1.v01.mp4", "out/.v1.mp4", "a.v1.mp4/b"]
)
def test_another_name_is_not_a_version(path: str) -> None:
    assert version_of(path) is None


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("out/s1.mp4", True),
        ("out/s1-2.mp4", True),
        ("out/s1.last.png", True),
        ("out/s1-2.last.png", True),
        ("out/s1.v1.mp4", False),
        ("out/s12.mp4", False),
        ("out/s1-close.mp4", False),
        ("other/s1.mp4", False),
    ],
)
def test_the_names_of_a_take_are_told_from_others(name: str, is_own: bool) -> None:
    assert bool(names_of_take("out/s1.mp4").fullmatch(name)) is is_own
