"""What each model family accepts: wire/seedance.md as a table of the sandbox's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

RATIOS = {"16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16, "21:9": 21 / 9}

_RATIO_ORDER = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")

_SIZES = {
    "480p": "864x496 752x560 640x640 560x752 496x864 992x432",
    "720p": "1280x720 1112x834 960x960 834x1112 720x1280 1470x630",
    # 1080p at 21:9 is in no source: half of each 4k side.
    "1080p": "1920x1080 1664x1248 1440x1440 1248x1664 1080x1920 2199x943",
    "4k": "3840x2160 3326x2494 2880x2880 2494x3326 2160x3840 4398x1886",
}


def _parse_sizes() -> dict[tuple[str, str], tuple[int, int]]:
    sizes = {}
    for resolution, row in _SIZES.items():
        for ratio, size in zip(_RATIO_ORDER, row.split(), strict=True):
            width, height = size.split("x")
            sizes[resolution, ratio] = (int(width), int(height))
    return sizes


SIZES = _parse_sizes()
"""(resolution, ratio) -> nominal (width, height) in pixels."""


@dataclass(frozen=True, slots=True)
class Family:
    """Durations in seconds, inclusive. `reference_images` is the most that may be sent, 0 for none."""

    name: str
    pattern: re.Pattern[str]
    resolutions: tuple[str, ...]
    durations: tuple[int, int]
    honours_seed: bool = True
    auto_duration: bool = False
    frames: bool = False
    camera_fixed: bool = False
    audio: bool = False
    draft: bool = False
    flex: bool = True
    priority: bool = False
    first_frame: bool = True
    last_frame: bool = True
    needs_image: bool = False
    reference_images: int = 0
    reference_media: bool = False
    heic: bool = False


def _pattern(core: str) -> re.Pattern[str]:
    return re.compile(rf"(?:byteplus/)?{core}(?:-\d{{6}})?")


_TO_1080P = ("480p", "720p", "1080p")


def _second(name: str, core: str, resolutions: tuple[str, ...]) -> Family:
    return Family(
        name,
        _pattern(core),
        resolutions,
        durations=(4, 15),
        honours_seed=False,
        auto_duration=True,
        audio=True,
        flex=False,
        priority=True,
        reference_images=9,
        reference_media=True,
        heic=True,
    )


FAMILIES = (
    _second("2.0", r"(?:dreamina-)?seedance-(?:v)?2-0", (*_TO_1080P, "4k")),
    _second("2.0 fast", r"(?:dreamina-)?seedance-(?:v)?2-0-fast", ("480p", "720p")),
    _second("2.0 mini", r"(?:dreamina-)?seedance-(?:v)?2-0-mini", ("480p", "720p")),
    Family(
        "1.5 pro",
        _pattern(r"seedance-(?:v)?1-5-pro"),
        _TO_1080P,
        durations=(4, 12),
        camera_fixed=True,
        audio=True,
        draft=True,
        heic=True,
    ),
    Family(
        "1.0 pro",
        _pattern(r"seedance-(?:v)?1(?:-0)?-pro"),
        _TO_1080P,
        durations=(2, 12),
        frames=True,
        camera_fixed=True,
    ),
    Family(
        "1.0 pro fast",
        _pattern(r"seedance-(?:v)?1(?:-0)?-pro-fast"),
        _TO_1080P,
        durations=(2, 12),
        frames=True,
        camera_fixed=True,
        last_frame=False,
    ),
    Family(
        "1.0 lite t2v",
        _pattern(r"seedance-(?:v)?1(?:-0)?-lite-t2v"),
        _TO_1080P,
        durations=(2, 12),
        frames=True,
        camera_fixed=True,
        first_frame=False,
        last_frame=False,
    ),
    Family(
        "1.0 lite i2v",
        _pattern(r"seedance-(?:v)?1(?:-0)?-lite-i2v"),
        _TO_1080P,
        durations=(2, 12),
        frames=True,
        camera_fixed=True,
        needs_image=True,
        reference_images=4,
    ),
)


def find_family(model: str) -> Family | None:
    """The family of a model id, with or without its prefix and date; None for an unknown model."""
    return next((family for family in FAMILIES if family.pattern.fullmatch(model)), None)


def nearest_ratio(width: int, height: int) -> str:
    """The ratio that `adaptive` resolves to for an image of this size."""
    wanted = width / height
    return min(_RATIO_ORDER, key=lambda ratio: max(wanted / RATIOS[ratio], RATIOS[ratio] / wanted))


def token_count(frames: int, width: int, height: int, input_video_seconds: float = 0.0) -> int:
    """What is billed: (frames + 24 x input video seconds) x width x height / 1024 (wire/seedance.md)."""
    return round((frames + 24 * input_video_seconds) * width * height / 1024)
