"""What is known of the models that a service sells. A model that is not known has no known limits.

A provider's models.yaml says what is the service's own, and names the file of its families: `seedance`
for seedance.yaml here, which several services sell, or a list of its own in the same form.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from runner.money import PriceUnit

DRAFT_RESOLUTION = "480p"
"""Of every family that makes drafts."""
_DATE_SUFFIX = re.compile(r"-\d{6,8}$")
_OLD_VERSION = re.compile(r"^(seedance)-v(\d+)(?:-(\d+))?(?=-|$)")
_VERSION = re.compile(r"^(seedance)-v?(\d+)(?:[-.](\d+))?(?=-|$)")


class FixedCamera(enum.StrEnum):
    """When a family honours `camera_fixed`."""

    NONE = "none"
    ALWAYS = "always"
    WITHOUT_REFERENCES = "without_references"


@dataclass(frozen=True, slots=True)
class ListPrice:
    """US dollars for one unit: with video among the inputs, without sound, and otherwise. With video it is
    None where more counts than the length of the output.
    """

    plain: Decimal
    with_video: Decimal | None
    silent: Decimal


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """A family of models: what it accepts and costs. Source and date are in its catalogue.

    The defaults say what a family cannot do, or is not known of it, unless its row says so.

    `retired` is the date, such as 2026-11-11, and None while it is sold; `successors` are the ids that are
    offered in its place, with their families. `most_seed` is the largest seed that is taken. `sizes` are by
    resolution and ratio. `durations` are seconds, first and last; `auto_duration`: whether -1 lets the
    model choose, which is the `default_duration` of some. `frames` are the least and the most, in steps of
    4 from 25, None where the field is not taken. `honours_seed`: whether the same seed gives a similar
    video again; None where nobody says, and a seed is sent then. `audio_default` is None where it is not
    known; `audio_alone`: whether sound may be the only input. `final_resolutions` are those of a final
    that is made of a draft. `frames_fix_ratio`: with a first frame the ratio is `adaptive`. `needs_image`:
    the family makes no video from text alone. `heic`: whether such images are taken, and heif. `image_sides`
    are the least and the most pixels of an image's side, `image_ratios` the least and the most of its width
    by its height, None where no limit is known. `adaptive_needs_image`: the ratio `adaptive` is that of an
    image, and without one it is refused. `reference_*` are the most of each kind, 0 for none, and
    `most_references` of all together; `reference_resolutions` the sizes that they allow; `reference_seconds`
    how long a video or sound is at least, and all of a kind together at most. `prices` are by
    resolution; empty if no price in US dollars is public. `lacks` are the service's own fields that are not
    taken.
    """

    name: str
    title: str
    ids: tuple[str, ...]
    retired: str | None
    successors: Mapping[str, ModelFamily] = field(default_factory=dict)
    most_seed: int
    resolutions: tuple[str, ...]
    ratios: tuple[str, ...]
    sizes: Mapping[tuple[str, str], Size]
    durations: tuple[int, int]
    auto_duration: bool = False
    default_duration: int
    frames: tuple[int, int] | None = None
    honours_seed: bool | None = False
    camera_fixed: FixedCamera
    audio: bool = False
    audio_default: bool | None = None
    audio_alone: bool = False
    draft: bool = False
    final_resolutions: tuple[str, ...]
    flex: bool = False
    priority: bool = False
    first_frame: bool = False
    last_frame: bool = False
    frames_fix_ratio: bool = False
    needs_image: bool = False
    heic: bool = False
    image_sides: tuple[int, int] | None = None
    image_ratios: tuple[float, float] | None = None
    adaptive_needs_image: bool = False
    reference_images: int = 0
    reference_videos: int = 0
    reference_audios: int = 0
    most_references: int
    reference_seconds: tuple[int, int] = (0, 0)
    reference_resolutions: tuple[str, ...]
    prices: Mapping[str, ListPrice]
    lacks: frozenset[str] = frozenset()

    @property
    def takes_references(self) -> bool:
        return bool(self.reference_images or self.reference_videos or self.reference_audios)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The models of one service. `as_of` is a month such as 2026-06, `prices_as_of` the days of the prices.

    `price_unit` is what the list prices are for; None where they are not the service's own. `vendors` are
    the names that may stand before an id and a slash; None where they are not known. `exact_ids`: the service
    knows a model by one of its `ids` alone, which end with a date; another date is a model of next year.
    `whole_ids`: an id with its slashes is a path, and no other is known.
    """

    as_of: str
    source: str
    prices_as_of: str
    fps: int
    families: Mapping[str, ModelFamily]
    price_unit: PriceUnit | None
    vendors: tuple[str, ...] | None = None
    exact_ids: bool = False
    whole_ids: bool = False

    @property
    def is_priced_in_tokens(self) -> bool:
        """Whether the service bills by tokens, at prices of its own."""
        return self.price_unit is PriceUnit.MTOK

    @functools.cached_property
    def names(self) -> Mapping[str, str]:
        """The family of each name that the service may know, in the form of `plain_name`."""
        ids = [(each, family.name) for family in self.families.values() for each in family.ids]
        own = {plain_name(each): name for each, name in ids}
        if self.exact_ids:
            return own
        dreamina = {f"dreamina-{name}": name for name in self.families}
        return {**own, **{name: name for name in self.families}, **dreamina}

    @functools.cached_property
    def by_whole_id(self) -> Mapping[str, ModelFamily]:
        """The family of each id, as it is written."""
        return {each: family for family in self.families.values() for each in family.ids}

    @functools.cached_property
    def _by_id(self) -> Mapping[str, ModelFamily]:
        return _by_id(self.families)

    def find(self, model: str) -> ModelFamily | None:
        """The family of `model`, or None if it is unknown."""
        if self.whole_ids:
            return self.by_whole_id.get(model)
        name = family_name(model)
        return self.families.get(name) or self._by_id.get(name)


def _by_id(families: Mapping[str, ModelFamily]) -> dict[str, ModelFamily]:
    return {family_name(each): family for family in families.values() for each in family.ids}


@functools.lru_cache(maxsize=1024)
def family_name(model: str) -> str:
    """The family in a model id: `byteplus/dreamina-seedance-2-0-fast-260128` is `seedance-2-0-fast`."""
    name = model.rsplit("/", 1)[-1].casefold().removeprefix("dreamina-")
    name = _DATE_SUFFIX.sub("", name)
    return _VERSION.sub(lambda found: f"{found[1]}-{found[2]}-{found[3] or '0'}", name)


def plain_name(name: str) -> str:
    """An id without vendor and date suffix, else as it is spelled: `dreamina-seedance-2-0-fast`."""
    return _OLD_VERSION.sub(
        lambda found: f"{found[1]}-{found[2]}-{found[3] or '0'}", _DATE_SUFFIX.sub("", name)
    )


def has_date(name: str) -> bool:
    """Whether an id ends with a date."""
    return _DATE_SUFFIX.search(name) is not None


@functools.cache
def load_catalogue(file: Path) -> Catalogue:
    """Reads a provider's models.yaml, and the families that it names."""
    own = _read(file)
    shared = isinstance(own["families"], str)
    data = _read(Path(__file__).with_name(f"{own['families']}.yaml")) if shared else own
    sold = {name: _family(name, row, data) for name, row in data["families"].items()}
    if own.get("exact_ids"):
        dated = {name: tuple(filter(has_date, family.ids)) for name, family in sold.items()}
        sold = {name: replace(sold[name], ids=ids) for name, ids in dated.items() if ids}
    for field_name, takers in own.get("fields", {}).items():
        for name in sold.keys() - set(takers):
            sold[name] = replace(sold[name], lacks=sold[name].lacks | {field_name})
    if prefix := own.get("unpriced_prefix", ""):
        others = {f"{prefix}{name}": _unpriced(family, prefix) for name, family in sold.items()}
        for name, family in sold.items():
            own_ids = tuple(each for each in family.ids if not each.startswith(prefix))
            sold[name] = replace(family, ids=own_ids)
        sold |= others
    known = _by_id(sold)
    for name, ids in own.get("successors", {}).items():
        sold[name] = replace(sold[name], successors={model: known[family_name(model)] for model in ids})
    return Catalogue(
        as_of=str(data["as_of"]),
        source=data["source"],
        prices_as_of=data["prices_as_of"],
        fps=data["fps"],
        families=sold,
        price_unit=_price_unit(own),
        vendors=tuple(own["vendors"]) if "vendors" in own else None,
        exact_ids=own.get("exact_ids", False),
        whole_ids=own.get("whole_ids", False),
    )


def _unpriced(family: ModelFamily, prefix: str) -> ModelFamily:
    """The same models under ids with another prefix, of which neither price nor end is known."""
    plain = (each.removeprefix("dreamina-").removeprefix(prefix) for each in family.ids)
    ids = tuple(dict.fromkeys(f"{prefix}{each}" for each in plain))
    return replace(family, name=f"{prefix}{family.name}", ids=ids, retired=None, prices={})


def _price_unit(own: Mapping[str, Any]) -> PriceUnit | None:
    if own["priced_in_tokens"]:
        return PriceUnit.MTOK
    return PriceUnit(own["price_unit"]) if "price_unit" in own else None


def _read(file: Path) -> Mapping[str, Any]:
    # libyaml, where there is one, reads seedance.yaml in 5 ms instead of 60: a tenth of what `validate` takes
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data: Mapping[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    return data


def _sizes(rows: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], Size]:
    return {
        (resolution, ratio): Size(*map(int, text.split("x")))
        for resolution, row in rows.items()
        for ratio, text in row.items()
    }


def _family(name: str, row: Mapping[str, Any], data: Mapping[str, Any]) -> ModelFamily:
    said: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in row.items()
        if value is not None
    }
    references = (said.get(f"reference_{kind}", 0) for kind in ("images", "videos", "audios"))
    defaults = {
        "default_duration": said["durations"][0],
        "final_resolutions": said["resolutions"],
        "reference_resolutions": said["resolutions"],
        "most_references": sum(references),
    }
    read = {
        "name": name,
        "most_seed": data["most_seed"],
        "ratios": tuple(data["ratios"]),
        "sizes": _sizes(data["sizes"]) | _sizes(row.get("sizes", {})),
        "honours_seed": row.get("honours_seed", False),
        "retired": str(row["retired"]) if row.get("retired") else None,
        "camera_fixed": FixedCamera(row.get("camera_fixed", FixedCamera.NONE)),
        "prices": {resolution: _price(price) for resolution, price in (row.get("prices") or {}).items()},
    }
    return ModelFamily(**{**defaults, **said, **read})


def _price(row: Mapping[str, str | None]) -> ListPrice:
    plain = str(row["plain"])
    with_video = row.get("with_video", plain)
    return ListPrice(
        Decimal(plain),
        None if with_video is None else Decimal(with_video),
        Decimal(row.get("silent") or plain),
    )
