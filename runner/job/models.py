"""What is known of each model family (models.yaml). An unknown model has no known limits."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

_DATE_SUFFIX = re.compile(r"-\d{6,8}$")
_VERSION = re.compile(r"^(seedance)-v?(\d+)(?:[-.](\d+))?(?=-|$)")


class FixedCamera(enum.StrEnum):
    """When a family honours `camera_fixed`."""

    NONE = "none"
    ALWAYS = "always"
    WITHOUT_REFERENCES = "without_references"


@dataclass(frozen=True, slots=True)
class ListPrice:
    """US dollars per million tokens, without and with video among the inputs."""

    plain: Decimal
    with_video: Decimal


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels. `is_assumed` where no source gives the size."""

    width: int
    height: int
    is_assumed: bool = False


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What a family accepts and costs; source and date are those of `facts()`.

    `durations` are seconds, first and last; `auto_duration`: whether -1 lets the model choose.
    `frames` are the least and the most, in steps of 4 from 25, None where the field is not taken.
    `honours_seed`: whether the same seed gives a similar video again. `audio_default` is None
    where it is not known. `needs_image`: there is no video from text alone. `reference_*` are the
    most of each kind, 0 for none; `reference_resolutions` the sizes that they allow. `prices` by
    resolution, empty where there is no public figure.
    """

    name: str
    title: str
    ids: tuple[str, ...]
    resolutions: tuple[str, ...]
    ratios: tuple[str, ...]
    durations: tuple[int, int]
    auto_duration: bool
    frames: tuple[int, int] | None
    honours_seed: bool
    camera_fixed: FixedCamera
    audio: bool
    audio_default: bool | None
    draft: bool
    flex: bool
    priority: bool
    first_frame: bool
    last_frame: bool
    needs_image: bool
    reference_images: int
    reference_videos: int
    reference_audios: int
    reference_resolutions: tuple[str, ...]
    prices: Mapping[str, ListPrice]

    @property
    def takes_references(self) -> bool:
        return bool(self.reference_images or self.reference_videos or self.reference_audios)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All of models.yaml. `sizes` is by resolution and ratio; `as_of` a month, as 2026-06."""

    as_of: str
    source: str
    fps: int
    sizes: Mapping[tuple[str, str], Size]
    families: Mapping[str, ModelFamily]


def family_name(model: str) -> str:
    """The family in a model id: `byteplus/dreamina-seedance-2-0-fast-260128` is `seedance-2-0-fast`."""
    name = model.rsplit("/", 1)[-1].casefold().removeprefix("dreamina-")
    name = _DATE_SUFFIX.sub("", name)
    return _VERSION.sub(lambda found: f"{found[1]}-{found[2]}-{found[3] or '0'}", name)


@functools.lru_cache(maxsize=1024)
def find_family(model: str) -> ModelFamily | None:
    """What is known of `model`, or None."""
    return facts().families.get(family_name(model))


@functools.cache
def facts() -> ModelFacts:
    """Everything that is known of models, with its date and source."""
    text = Path(__file__).with_name("models.yaml").read_text(encoding="utf-8")
    # libyaml, where there is one, reads it in 5 ms instead of 60: a tenth of what `validate` takes
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    ratios = tuple(data["ratios"])
    return ModelFacts(
        as_of=str(data["as_of"]),
        source=data["source"],
        fps=data["fps"],
        sizes={
            (resolution, ratio): _size(text)
            for resolution, row in data["sizes"].items()
            for ratio, text in row.items()
        },
        families={name: _family(name, ratios, row) for name, row in data["families"].items()},
    )


def _size(text: str) -> Size:
    width, height = text.rstrip("*").split("x")
    return Size(int(width), int(height), is_assumed=text.endswith("*"))


def _family(name: str, ratios: tuple[str, ...], row: Mapping[str, Any]) -> ModelFamily:
    resolutions = tuple(row["resolutions"])
    first, last = row["durations"]
    return ModelFamily(
        name=name,
        title=row["title"],
        ids=tuple(row["ids"]),
        resolutions=resolutions,
        ratios=ratios,
        durations=(first, last),
        auto_duration=row["auto_duration"],
        frames=(row["frames"][0], row["frames"][1]) if row["frames"] else None,
        honours_seed=row["honours_seed"],
        camera_fixed=FixedCamera(row["camera_fixed"]),
        audio=row["audio"],
        audio_default=row["audio_default"],
        draft=row["draft"],
        flex=row["flex"],
        priority=row["priority"],
        first_frame=row["first_frame"],
        last_frame=row["last_frame"],
        needs_image=row["needs_image"],
        reference_images=row["reference_images"],
        reference_videos=row["reference_videos"],
        reference_audios=row["reference_audios"],
        reference_resolutions=tuple(row.get("reference_resolutions", resolutions)),
        prices={
            resolution: ListPrice(Decimal(price["plain"]), Decimal(price["with_video"]))
            for resolution, price in (row["prices"] or {}).items()
        },
    )
