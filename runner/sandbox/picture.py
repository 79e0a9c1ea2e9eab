"""The frames of a video: a pure function of what was asked and the seed."""

from __future__ import annotations

import io
import random
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont, ImageOps

FPS = 24
_HELD_FRAMES = 24
"""How long each picture is shown, a given first or last frame too: a second. A frame that is like the one
before costs the encoder a tenth of a new one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that a video depends on. `width` and `height` are even, in pixels as rendered.

    `digest` names the request without its seed; `opening` and `closing` are encoded images.
    """

    digest: str
    seed: int
    label: str
    prompt: str
    width: int
    height: int
    frames: int
    sound: bool
    opening: bytes | None = field(default=None, repr=False)
    closing: bytes | None = field(default=None, repr=False)


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(width, height) as rendered: even, as H.264 in yuv420p asks, and at least 16 pixels."""
    width, height = (max(16, round(side * scale / 2) * 2) for side in size)
    return width, height


def draw_pictures(picture: Picture) -> Iterator[tuple[Image.Image, range]]:
    """Each picture in turn, RGB, with the frames that show it."""
    chance = random.Random(f"{picture.digest}/{picture.seed}")
    size = (picture.width, picture.height)
    ground = _draw_ground(chance, *size)
    step_x, step_y = chance.choice((-2, -1, 1, 2)), chance.choice((-1, 1))
    opening, closing = _fit(picture.opening, size), _fit(picture.closing, size)
    caption = _draw_caption(picture)
    font = ImageFont.load_default(_font_size(picture))
    corner = picture.width - 4, picture.height - 4
    # a ground for the counter: an outline round its digits takes as long to draw as all the rest
    under = ImageDraw.Draw(ground).textbbox(corner, f"{picture.frames}/{picture.frames}", font, "rs")
    ending = max(0, picture.frames - _HELD_FRAMES)
    starts = [*range(0, ending, _HELD_FRAMES), ending]
    for index, end in zip(starts, [*starts[1:], picture.frames], strict=True):
        if opening is not None and index == 0:
            frame = opening.copy()
        elif closing is not None and index == ending:
            frame = closing.copy()
        else:
            left = index * step_x % picture.width
            top = index * step_y % picture.height
            frame = ground.crop((left, top, left + picture.width, top + picture.height))
        frame.paste(caption, (0, 0))
        draw = ImageDraw.Draw(frame)
        draw.rectangle(under, fill="black")
        draw.text(corner, f"{end}/{picture.frames}", font=font, anchor="rs", fill="white")
        yield frame, range(index, end)


def _draw_ground(chance: random.Random, width: int, height: int) -> Image.Image:
    """Twice the frame in each direction, the same tile four times, so that a crop can wander round it."""
    hue = chance.randrange(256)
    # Bright in its middle and dark at both ends, so that tiles meet without a seam.
    tile = Image.linear_gradient("L").point(lambda level: 255 - abs(2 * level - 255)).resize((width, height))
    colours = Image.merge(
        "HSV",
        (tile.point(lambda level: (hue + level // 4) % 256), Image.new("L", (width, height), 170), tile),
    ).convert("RGB")
    draw = ImageDraw.Draw(colours)
    for _ in range(chance.randrange(4, 9)):
        radius = chance.randrange(4, max(5, height // 4))
        x, y = chance.randrange(width), chance.randrange(height)
        box = (x - radius, y - radius, x + radius, y + radius)
        fill = tuple(chance.randrange(40, 256) for _ in range(3))
        chance.choice((draw.ellipse, draw.rectangle))(box, fill=fill)
    ground = Image.new("RGB", (2 * width, 2 * height))
    for corner in ((0, 0), (width, 0), (0, height), (width, height)):
        ground.paste(colours, corner)
    return ground


def _font_size(picture: Picture) -> int:
    return max(8, picture.height // 14)


def _draw_caption(picture: Picture) -> Image.Image:
    """The seed and the prompt, white on black, at most half of the frame high."""
    size = _font_size(picture)
    printable = "".join(mark if mark.isprintable() else " " for mark in picture.prompt[:400])
    columns = max(4, int(picture.width / (size * 0.52)))
    lines = [f"seed {picture.label}", *textwrap.wrap(printable, columns)]
    line_height = size + 3
    lines = lines[: max(1, picture.height // 2 // line_height)]
    caption = Image.new("RGB", (picture.width, line_height * len(lines) + 4), "black")
    draw = ImageDraw.Draw(caption)
    font = ImageFont.load_default(size)
    for row, line in enumerate(lines):
        draw.text((4, 2 + row * line_height), line, font=font, fill="white")
    return caption


def _fit(data: bytes | None, size: tuple[int, int]) -> Image.Image | None:
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.fit(image.convert("RGB"), size)
    except OSError:
        # Its header was read when it was accepted; HEIC and broken pixels show the ground instead.
        return None
