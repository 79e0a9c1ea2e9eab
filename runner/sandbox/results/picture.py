"""The frames of a video: a pure function of what was asked and the seed."""

from __future__ import annotations

import functools
import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import fontpkg_noto_sans
import noto_cjk_sans_jp_regular
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
    font = _Font.load(_font_size(picture)).western
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


_CJK = re.compile(
    "([\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]+)"
)
"""Chinese, Japanese and Korean, with their punctuation."""

_MAY_BREAK = re.compile(rf"(?<=\s)|(?<={_CJK.pattern[1:-2]})")
"""After a space, and after each character of a script that is written without spaces."""


@dataclass(frozen=True, slots=True)
class _Font:
    """Noto Sans for Latin, Greek and Cyrillic, and Noto Sans CJK (SIL Open Font License, both)."""

    size: int
    western: ImageFont.FreeTypeFont
    cjk: ImageFont.FreeTypeFont

    @classmethod
    @functools.lru_cache(maxsize=8)
    def load(cls, size: int) -> _Font:
        paths = (
            fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf",
            noto_cjk_sans_jp_regular.FONT_PATH,
        )
        # BASIC: shaping by Raqm takes longer, and these scripts need none
        return cls(
            size,
            *(ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC) for path in paths),
        )

    def runs(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        for number, run in enumerate(_CJK.split(text)):
            yield run, self.cjk if number % 2 else self.western

    def width(self, text: str) -> float:
        return sum(font.getlength(run) for run, font in self.runs(text))

    def draw(self, draw: ImageDraw.ImageDraw, left: float, baseline: float, text: str) -> None:
        for run, font in self.runs(text):
            draw.text((left, baseline), run, font=font, anchor="ls", fill="white")
            left += font.getlength(run)


def _draw_caption(picture: Picture) -> Image.Image:
    """The seed and the prompt, white on black, at most half of the frame high."""
    font = _Font.load(_font_size(picture))
    line_height = round(font.size * 1.25)
    most = max(1, picture.height // 2 // line_height)
    printable = "".join(mark if mark.isprintable() else " " for mark in picture.prompt[:400])
    lines = [f"seed {picture.label}", *_wrapped(printable, font, picture.width - 8)][:most]
    caption = Image.new("RGB", (picture.width, line_height * len(lines) + 4), "black")
    draw = ImageDraw.Draw(caption)
    for row, line in enumerate(lines, start=1):
        font.draw(draw, 4, row * line_height - font.size // 5, line)
    return caption


def _wrapped(text: str, font: _Font, width: int) -> Iterator[str]:
    """`text` in lines of at most `width` pixels."""
    line = ""
    for piece in _MAY_BREAK.split(" ".join(text.split())):
        if line and font.width((line + piece).rstrip()) > width:
            yield line
            line = ""
        line += piece
        while len(line) > 1 and font.width(line.rstrip()) > width:  # a word that is wider than a line
            fits = next((n for n in range(len(line) - 1, 1, -1) if font.width(line[:n]) <= width), 1)
            yield line[:fits]
            line = line[fits:]
    if line:
        yield line


def _fit(data: bytes | None, size: tuple[int, int]) -> Image.Image | None:
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.fit(image.convert("RGB"), size)
    except OSError:
        # Its header was read when it was accepted; HEIC and broken pixels show the ground instead.
        return None
