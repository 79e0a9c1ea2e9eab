"""What each model family accepts: wire/seedance.md as a table of the sandbox's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

RATIOS = {"16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16, "21:9": 21 / 9}

_RATIO_ORDER = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")

Sizes = Mapping[tuple[str, str], tuple[int, int]]
"""(resolution, ratio) -> nominal (width, height) in pixels."""


def _parse_sizes(rows: Mapping[str, str]) -> dict[tuple[str, str], tuple[int, int]]:
    sizes = {}
    for resolution, row in rows.items():
        for ratio, size in zip(_RATIO_ORDER, row.split(), strict=True):
            width, height = size.split("x")
            sizes[resolution, ratio] = (int(width), int(height))
    return sizes


SIZES: Sizes = _parse_sizes(
    {
        "480p": "864x496 752x560 640x640 560x752 496x864 992x432",
        "720p": "1280x720 1112x834 960x960 834x1112 720x1280 1470x630",
        "1080p": "1920x1080 1664x1248 1440x1440 1248x1664 1080x1920 2206x946",
        "4k": "3840x2160 3326x2494 2880x2880 2494x3326 2160x3840 4398x1886",
    }
)
_SIZES_OF_2_5 = {**SIZES, ("480p", "16:9"): (854, 480), ("480p", "9:16"): (480, 854)}
_SIZES_OF_1_0 = _parse_sizes(
    {
        "480p": "864x480 736x544 640x640 544x736 480x864 960x416",
        "720p": "1248x704 1120x832 960x960 832x1120 704x1248 1504x640",
        "1080p": "1920x1088 1664x1248 1440x1440 1248x1664 1088x1920 2176x928",
    }
)
_LINES = {"480p": 480, "720p": 720, "1080p": 1080, "4k": 2160}


@dataclass(frozen=True, slots=True)
class Family:
    """Durations in seconds, inclusive. `reference_*` are the most that may be sent, 0 for none.

    `name` is the one in an id. `has_limits` is false of a model that no document here names: nothing
    is refused then for what it asks.
    """

    name: str
    title: str
    resolutions: tuple[str, ...]
    durations: tuple[int, int]
    sizes: Sizes = field(default_factory=lambda: SIZES, repr=False)
    honours_seed: bool = True
    auto_duration: bool = False
    frames: bool = False
    camera_fixed: bool = False
    audio: bool = False
    audio_alone: bool = False
    draft: bool = False
    final_resolutions: tuple[str, ...] = ()
    flex: bool = True
    priority: bool = False
    first_frame: bool = True
    last_frame: bool = True
    frames_fix_ratio: bool = False
    needs_image: bool = False
    reference_images: int = 0
    reference_media: int = 0
    most_references: int = 0
    heic: bool = False
    has_limits: bool = True

    def size(self, resolution: str, ratio: str) -> tuple[int, int]:
        """Nominal (width, height) in pixels; reckoned for what is in no table."""
        if (resolution, ratio) in self.sizes:
            return self.sizes[resolution, ratio]
        found = re.fullmatch(r"(\d{2,4})p", resolution)
        lines = _LINES.get(resolution) or (int(found[1]) if found else 720)
        sides = _RATIO.fullmatch(ratio)
        wide, high = (min(max(int(side), 1), 100) for side in (sides.groups() if sides else (16, 9)))
        return (round(lines * wide / high), lines) if wide >= high else (lines, round(lines * high / wide))


_RATIO = re.compile(r"(\d{1,9}):(\d{1,9})")
_TO_1080P = ("480p", "720p", "1080p")
_SECOND = Family(
    "2-0",
    "2.0",
    (*_TO_1080P, "4k"),
    durations=(4, 15),
    honours_seed=False,
    auto_duration=True,
    audio=True,
    flex=False,
    priority=True,
    reference_images=9,
    reference_media=3,
    most_references=15,
    heic=True,
)
_FIRST = Family(
    "1-0-pro",
    "1.0 pro",
    _TO_1080P,
    durations=(2, 12),
    sizes=_SIZES_OF_1_0,
    frames=True,
    camera_fixed=True,
)
_LITE = replace(_FIRST, frames=False, title="1.0 lite")

FAMILIES = (
    replace(
        _SECOND,
        name="2-5",
        title="2.5",
        resolutions=_TO_1080P,
        durations=(4, 30),
        sizes=_SIZES_OF_2_5,
        audio_alone=True,
        draft=True,
        final_resolutions=("1080p",),
        frames_fix_ratio=True,
        reference_images=30,
        reference_media=10,
        most_references=50,
    ),
    _SECOND,
    replace(_SECOND, name="2-0-fast", title="2.0 fast", resolutions=("480p", "720p")),
    replace(_SECOND, name="2-0-mini", title="2.0 mini", resolutions=("480p", "720p")),
    Family(
        "1-5-pro",
        "1.5 pro",
        _TO_1080P,
        durations=(4, 12),
        auto_duration=True,
        camera_fixed=True,
        audio=True,
        draft=True,
        heic=True,
    ),
    _FIRST,
    replace(_FIRST, name="1-0-pro-fast", title="1.0 pro fast", last_frame=False),
    replace(_LITE, name="1-0-lite-t2v", title="1.0 lite t2v", first_frame=False, last_frame=False),
    replace(
        _LITE,
        name="1-0-lite-i2v",
        title="1.0 lite i2v",
        needs_image=True,
        reference_images=4,
        most_references=4,
    ),
)
USD_PER_MTOK = {"2-0": ("7.7", "4.7"), "2-0-fast": ("5.6", "3.3"), "2-0-mini": ("3.5", "2.1")}
"""Without and with video among the inputs, at the dearest resolution, of those with a public price."""
_BY_NAME = {family.name: family for family in FAMILIES}

_MODEL = re.compile(
    r"(?:.*/)?(?:dreamina-|doubao-(?=seedance-2-))?seedance-v?(\d+)(?:[-.](\d+)(?=-|$))?((?:-[a-z]\w*)*)(?:-\d{6,8})?",
    re.IGNORECASE,
)


def find_family(model: str) -> Family | None:
    """The family of a model id, with or without its prefix and date; None for an unknown model."""
    found = _MODEL.fullmatch(model)
    name = f"{found[1]}-{found[2] or '0'}{found[3]}".casefold() if found else ""
    return _BY_NAME.get(name)


def nearest_family(model: str) -> Family:
    """What stands in for an unknown model: as the family whose name is most alike, without its limits."""
    name = model.rsplit("/", 1)[-1].casefold()
    alike = difflib.get_close_matches(name, [f"seedance-{known}" for known in _BY_NAME], 1, cutoff=0)
    nearest = _BY_NAME[alike[0].removeprefix("seedance-")]
    return replace(nearest, audio=True, heic=True, has_limits=False)


def nearest_ratio(width: int, height: int) -> str:
    """The ratio that `adaptive` resolves to for an image of this size."""
    wanted = width / height
    return min(_RATIO_ORDER, key=lambda ratio: max(wanted / RATIOS[ratio], RATIOS[ratio] / wanted))


def token_count(frames: int, width: int, height: int, input_video_seconds: float = 0.0) -> int:
    """What is billed: (frames + 24 x input video seconds) x width x height / 1024 (wire/seedance.md)."""
    return round((frames + 24 * input_video_seconds) * width * height / 1024)
