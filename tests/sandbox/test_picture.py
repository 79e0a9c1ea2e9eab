"""What the sandbox's pictures show, without the encoder."""

from __future__ import annotations

import pytest
from PIL import Image

from runner.sandbox.results.picture import Picture, draw_pictures

LETTERS = {
    "Latin": "AzÄéñøŁß",
    "Greek": "ΑωθάίώΣς",
    "Cyrillic": "ЖяёЙщэЇґ",
    "Chinese": "雾中的小船薄胶片",
    "Japanese": "あいカキ霧、ー」",
    "Korean": "안개속의배한글",
}


def first_picture(prompt: str, width: int = 320, height: int = 180) -> Image.Image:
    return next(draw_pictures(Picture("digest", 7, "7", prompt, width, height, 24, sound=False)))[0]


@pytest.mark.parametrize("script", LETTERS)
def test_each_letter_has_a_shape_of_its_own(script: str) -> None:
    """What a font lacks would look like every other letter that it lacks."""
    shapes = {first_picture(letter * 3).tobytes() for letter in LETTERS[script]}
    assert len(shapes) == len(LETTERS[script])


@pytest.mark.parametrize(
    "prompt", ["x" * 300, "雾" * 300, "a boat " * 60, "", "\n\t ", "A " + "й" * 200 + " end"]
)
@pytest.mark.parametrize("size", [(320, 180), (64, 64), (108, 192)])
def test_a_prompt_of_any_length_covers_at_most_half_of_the_frame(prompt: str, size: tuple[int, int]) -> None:
    picture = first_picture(prompt, *size)
    assert picture.size == size
    ground = first_picture("", *size)
    lower = (0, size[1] // 2 + 12, *size)
    assert picture.crop(lower).tobytes() == ground.crop(lower).tobytes()
