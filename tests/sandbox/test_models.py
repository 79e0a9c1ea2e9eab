from __future__ import annotations

import pytest

from runner.sandbox.models import SIZES, find_family, nearest_ratio, token_count


@pytest.mark.parametrize(
    ("model", "family"),
    [
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
