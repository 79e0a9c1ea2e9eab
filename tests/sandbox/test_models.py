from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox.models import SIZES, find_family, nearest_family, nearest_ratio, token_count


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("dreamina-seedance-2-5-260628", "2.5"),
        ("doubao-seedance-2-5-260628", "2.5"),
        ("bytedance/Seedance-2.5", "2.5"),
        ("byteplus/dreamina-seedance-2-0", "2.0"),
        ("dreamina-seedance-2-0-260128", "2.0"),
        ("dreamina-seedance-2-0-fast-260128", "2.0 fast"),
        ("dreamina-seedance-2-0-mini-260615", "2.0 mini"),
        ("byteplus/seedance-1-5-pro", "1.5 pro"),
        ("seedance-1-5-pro-251215", "1.5 pro"),
        ("seedance-v1-5-pro", "1.5 pro"),
        ("seedance-1-0-pro-250428", "1.0 pro"),
        ("seedance-v1-pro", "1.0 pro"),
        ("seedance-1-0-pro-fast-250528", "1.0 pro fast"),
        ("seedance-1-0-lite-t2v-250219", "1.0 lite t2v"),
        ("seedance-1-0-lite-i2v-250219", "1.0 lite i2v"),
    ],
)
def test_every_spelling_of_a_model_finds_its_family(model: str, family: str) -> None:
    found = find_family(model)
    assert found is not None
    assert found.title == family


@pytest.mark.parametrize(
    "model", ["", "gpt-5", "seedance-9-0", "byteplus/", "xseedance-1-5-pro", "seedance-1-5-pro-"]
)
def test_another_model_has_no_family(model: str) -> None:
    assert find_family(model) is None


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("seedance-2-5-ultra", "2.5"),
        ("seedance-1-5-professional", "1.5 pro"),
        ("doubao-seedance-1-0-pro-250528", "1.0 pro"),
        ("x/seedance-1-0-lite", "1.0 lite t2v"),
    ],
)
def test_an_unknown_model_is_made_as_the_nearest_family_without_its_limits(model: str, nearest: str) -> None:
    found = nearest_family(model)
    assert (found.title, found.has_limits) == (nearest, False)


@given(st.text(min_size=1))
def test_there_is_a_nearest_family_for_any_id(model: str) -> None:
    assert not nearest_family(model).has_limits


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "16:9", (1280, 720)),
        ("540p", "16:9", (960, 540)),
        ("540p", "9:16", (540, 960)),
        ("8k", "wide", (1280, 720)),
        ("720p", "0:0", (720, 720)),
    ],
)
def test_a_size_in_no_table_is_reckoned(resolution: str, ratio: str, size: tuple[int, int]) -> None:
    assert nearest_family("other/new").size(resolution, ratio) == size


def test_tokens_are_those_of_published_bills() -> None:
    assert token_count(121, *SIZES["720p", "16:9"]) == 108_900
    assert token_count(121, *SIZES["1080p", "16:9"]) == 245_025


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1920, 1080), "16:9"),
        ((1000, 1000), "1:1"),
        ((700, 1000), "3:4"),
        ((600, 1500), "9:16"),
        ((1500, 640), "21:9"),
    ],
)
def test_adaptive_takes_the_nearest_ratio(size: tuple[int, int], ratio: str) -> None:
    assert nearest_ratio(*size) == ratio
