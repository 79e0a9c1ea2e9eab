"""What a model refuses, ignores or cannot do: one rule a function, over one resolved request.

The facts are those of the provider's models; a model that is not known has no limits. That `duration` and
`frames` exclude each other holds for every model and stands in the request's schema, where no level
can switch it off.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from runner.job.yaml.nodes import Path
from runner.json_value import JsonValue
from runner.providers.models import FixedCamera, ModelFamily


class Level(enum.StrEnum):
    """What a finding does: stop the plan, be told, or nothing."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` is the place in the request; `rule` a name of `lint.DEFAULT_LEVELS`."""

    rule: str
    path: Path
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A content item as rules see it; an image without a role is the first frame. `path` is its role's."""

    path: Path
    kind: str
    role: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of its model, in Mesh's names. `names` are the service's own, where others."""

    provider: str
    model: str
    resolution: JsonValue
    ratio: JsonValue
    duration: JsonValue
    frames: JsonValue
    has_seed: bool
    seed: JsonValue
    camera_fixed: JsonValue
    generate_audio: JsonValue
    draft: JsonValue
    service_tier: JsonValue
    priority: JsonValue
    return_last_frame: JsonValue
    items: tuple[Item, ...]
    names: tuple[tuple[str, str], ...] = ()

    def name(self, field: str) -> str:
        return dict(self.names).get(field, field)

    def count(self, role: str) -> int:
        return sum(item.role == role for item in self.items)

    def first(self, *roles: str) -> Path:
        """The place of the first item with one of these roles; the content where there is none."""
        return next((item.path for item in self.items if item.role in roles), ("content",))

    @property
    def has_references(self) -> bool:
        return any(item.role in _REFERENCES for item in self.items)


Told = Iterator[tuple[Path, str, str]]
"""(path, message, hint) for each thing that is wrong."""

Check = Callable[[Asked, ModelFamily], Told]

_REFERENCES = ("reference_image", "reference_video", "reference_audio")
_DRAFT_RESOLUTION = "480p"
_FRAME_STEP, _FRAME_BASE = 4, 25
_GETIMG_NAMES = (("ratio", "aspect_ratio"), ("generate_audio", "sound"))


def asked(provider: str, request: Mapping[str, JsonValue]) -> Asked:
    """What `request`, in the wire form of `provider`, asks of its model."""
    get = request.get
    if provider == "getimg":
        return Asked(
            provider=provider,
            model=str(get("model")),
            resolution=get("resolution"),
            ratio=get("aspect_ratio"),
            duration=get("duration"),
            frames=None,
            has_seed=False,
            seed=None,
            camera_fixed=None,
            generate_audio=get("sound"),
            draft=None,
            service_tier=None,
            priority=None,
            return_last_frame=None,
            items=_items(get("images"), "images"),
            names=_GETIMG_NAMES,
        )
    return Asked(
        provider=provider,
        model=str(get("model")),
        resolution=get("resolution"),
        ratio=get("ratio"),
        duration=get("duration"),
        frames=get("frames"),
        has_seed="seed" in request,
        seed=get("seed"),
        camera_fixed=get("camera_fixed"),
        generate_audio=get("generate_audio"),
        draft=get("draft"),
        service_tier=get("service_tier"),
        priority=get("priority"),
        return_last_frame=get("return_last_frame"),
        items=_items(get("content"), "content"),
    )


def _items(content: JsonValue, field: str) -> tuple[Item, ...]:
    items: list[Item] = []
    for number, item in enumerate(content if isinstance(content, list) else ()):
        if isinstance(item, dict):
            kind = str(item.get("type", "image_url"))
            default = {"image_url": "first_frame"}.get(kind, f"reference_{kind.removesuffix('_url')}")
            role = default if kind.endswith("_url") else kind
            items.append(Item((field, number, "role"), kind, str(item.get("role") or role)))
    return tuple(items)


def _retired(request: Asked, family: ModelFamily) -> Told:
    if family.retired is None or not family.successors:
        return
    sold = family.successors
    best = min(sold, key=lambda model: len(check_model(replace(request, model=model), sold[model])))
    vendor, slash, _ = request.model.rpartition("/")
    told = f"{request.model} was retired on {family.retired}"
    yield ("model",), told, f"use {vendor}{slash}{best}"


def _resolution(request: Asked, family: ModelFamily) -> Told:
    allowed, when = family.resolutions, ""
    if request.draft:
        allowed, when = (_DRAFT_RESOLUTION,), " for a draft"
    elif request.count("draft_task") and family.final_resolutions != family.resolutions:
        allowed, when = family.final_resolutions, " of a draft"
    elif request.has_references and family.reference_resolutions != family.resolutions:
        allowed, when = family.reference_resolutions, " with references"
    if request.resolution is not None and request.resolution not in allowed:
        yield (
            (request.name("resolution"),),
            f"{family.title} does not make {request.resolution}{when}",
            f"it makes {', '.join(allowed)}",
        )


def _ratio(request: Asked, family: ModelFamily) -> Told:
    if request.ratio is not None and request.ratio not in family.ratios:
        yield (
            (request.name("ratio"),),
            f"{family.title} does not make {request.ratio}",
            f"it makes {', '.join(family.ratios)}",
        )
    elif family.frames_fix_ratio and request.count("first_frame") and request.ratio not in (None, "adaptive"):
        told = f"{family.title} gives a video the ratio of its first frame"
        yield (request.name("ratio"),), told, f"{request.name('ratio')}: adaptive"


def _duration(request: Asked, family: ModelFamily) -> Told:
    value, (least, most) = request.duration, family.durations
    if not isinstance(value, int) or (value == -1 and family.auto_duration) or least <= value <= most:
        return
    auto = ", or -1 to let it choose" if family.auto_duration else ""
    yield ("duration",), f"{family.title} does not make {value} s", f"{least} to {most} s{auto}"


def _frames(request: Asked, family: ModelFamily) -> Told:
    value = request.frames
    if not isinstance(value, int):
        return
    if family.frames is None:
        yield ("frames",), f"{family.title} takes no `frames`", "give `duration` instead"
        return
    least, most = family.frames
    if not least <= value <= most or (value - _FRAME_BASE) % _FRAME_STEP:
        hint = f"25 + 4n, from {least} to {most}: {_nearest_frames(value, least, most)}"
        yield ("frames",), f"{family.title} does not make {value} frames", hint


def _nearest_frames(value: int, least: int, most: int) -> int:
    stepped = _FRAME_BASE + round((value - _FRAME_BASE) / _FRAME_STEP) * _FRAME_STEP
    return min(max(stepped, least), most)


def _seed_range(request: Asked, family: ModelFamily) -> Told:
    if isinstance(request.seed, int) and request.seed > family.most_seed:
        yield ("seed",), f"the service takes seeds up to {family.most_seed}", "use a smaller one"


def _seed(request: Asked, family: ModelFamily) -> Told:
    if request.has_seed and not family.honours_seed:
        yield ("seed",), f"{request.model} ignores `seed`, so it is not sent", "remove it"


def _camera(request: Asked, family: ModelFamily) -> Told:
    if not request.camera_fixed or family.camera_fixed is FixedCamera.ALWAYS:
        return
    if family.camera_fixed is FixedCamera.NONE:
        yield ("camera_fixed",), f"{family.title} has no `camera_fixed`", "say it in the prompt"
    elif request.has_references:
        yield ("camera_fixed",), f"{family.title} has no `camera_fixed` with references", "remove it"


def _audio(request: Asked, family: ModelFamily) -> Told:
    if request.generate_audio and not family.audio:
        yield (request.name("generate_audio"),), f"{family.title} makes no sound", "remove it"


def _draft(request: Asked, family: ModelFamily) -> Told:
    if request.draft and not family.draft:
        yield ("draft",), f"{family.title} makes no drafts", "remove it"
    elif request.draft and request.return_last_frame:
        yield ("return_last_frame",), "a draft has no last frame", "remove it, or `draft`"
    if request.count("draft_task") and not family.draft:
        yield request.first("draft_task"), f"{family.title} makes no finals of drafts", "remove it"


def _flex(request: Asked, family: ModelFamily) -> Told:
    if request.service_tier != "flex":
        return
    if not family.flex:
        yield ("service_tier",), f"{family.title} has no flex tier", "remove it"
    elif request.draft:
        yield ("service_tier",), "a draft is not made on the flex tier", "remove it, or `draft`"


def _priority(request: Asked, family: ModelFamily) -> Told:
    if request.priority and not family.priority:
        yield ("priority",), f"{family.title} has no `priority`", "remove it"


def _frame_roles(request: Asked, family: ModelFamily) -> Told:
    for role, is_taken in (("first_frame", family.first_frame), ("last_frame", family.last_frame)):
        number = request.count(role)
        if number and not is_taken:
            yield request.first(role), f"{family.title} takes no {role}", "remove it, or use another model"
        elif number > 1:
            yield request.first(role), f"{number} images are the {role}", "give each its own `role`"
    if request.count("last_frame") and not request.count("first_frame"):
        yield request.first("last_frame"), "a last_frame needs a first_frame", "add the first frame"


def _modes(request: Asked, _family: ModelFamily) -> Told:
    if request.has_references and (request.count("first_frame") or request.count("last_frame")):
        yield (
            request.first(*_REFERENCES),
            "references exclude first and last frames",
            "keep the frames, or give every image `role: reference_image`",
        )


def _references(request: Asked, family: ModelFamily) -> Told:
    for role, most in (
        ("reference_image", family.reference_images),
        ("reference_video", family.reference_videos),
        ("reference_audio", family.reference_audios),
    ):
        number, words = request.count(role), role.replace("_", " ") + "s"
        if number and not most:
            yield request.first(role), f"{family.title} takes no {words}", "remove them"
        elif number > most:
            yield request.first(role), f"{number} {words}; {family.title} takes {most}", "remove some"
    number = sum(map(request.count, _REFERENCES))
    if family.takes_references and number > family.most_references:
        told = f"{number} references; {family.title} takes {family.most_references} in all"
        yield request.first(*_REFERENCES), told, "remove some"


def _needs_image(request: Asked, family: ModelFamily) -> Told:
    if family.needs_image and not any(item.kind == "image_url" for item in request.items):
        yield ("content",), f"{family.title} needs an image", "add an image_url item"


def _audio_alone(request: Asked, family: ModelFamily) -> Told:
    if family.audio_alone:
        return
    if request.items and all(item.kind == "audio_url" for item in request.items):
        yield request.first("reference_audio"), "sound cannot be the only input", "add a text, image or video"


MODEL_RULES: Mapping[str, tuple[Level, Check]] = {
    "retired": (Level.WARN, _retired),
    "resolution": (Level.ERROR, _resolution),
    "ratio": (Level.ERROR, _ratio),
    "duration": (Level.ERROR, _duration),
    "frames": (Level.ERROR, _frames),
    "seed-range": (Level.WARN, _seed_range),
    "seed-ignored": (Level.WARN, _seed),
    "camera-fixed": (Level.ERROR, _camera),
    "audio": (Level.ERROR, _audio),
    "draft": (Level.ERROR, _draft),
    "flex": (Level.ERROR, _flex),
    "priority": (Level.ERROR, _priority),
    "frame-roles": (Level.ERROR, _frame_roles),
    "modes": (Level.ERROR, _modes),
    "references": (Level.ERROR, _references),
    "needs-image": (Level.ERROR, _needs_image),
    "audio-alone": (Level.ERROR, _audio_alone),
}


def check_model(request: Asked, family: ModelFamily) -> tuple[Finding, ...]:
    """What a model of this family would refuse of the request, or ignore."""
    return tuple(
        Finding(rule, path, message, hint)
        for rule, (_, check) in MODEL_RULES.items()
        for path, message, hint in check(request, family)
    )
