"""What a model refuses, ignores or cannot do: one rule a function, over one resolved request.

The facts are those of the provider's models; a model that is not known has no limits. That `duration` and
`frames` exclude each other holds for every model and stands in the request's schema, where no level
can switch it off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runner.job.model import Level
from runner.providers.dialect import REFERENCES, Asked, RequestPath
from runner.providers.models import DRAFT_RESOLUTION, FixedCamera, ModelFamily


@dataclass(frozen=True, slots=True)
class LintFinding:
    """`path` is the place in the request; `rule` a name of `lint.DEFAULT_LEVELS`."""

    rule: str
    path: RequestPath
    message: str
    hint: str = ""


Told = Iterator[tuple[RequestPath, str, str]]
"""(path, message, hint) for each thing that is wrong."""

Check = Callable[[Asked, ModelFamily], Told]

_NO_RATIO = (None, "adaptive")
_FRAME_STEP, _FRAME_BASE = 4, 25


def _retired(request: Asked, family: ModelFamily) -> Told:
    if family.retired is None or not family.successors:
        return
    sold = family.successors
    best = min(sold, key=lambda model: len(check_model(request._replace(model=model), sold[model])))
    vendor, slash, _ = request.model.rpartition("/")
    told = f"{request.model} was retired on {family.retired}"
    yield ("model",), told, f"use {vendor}{slash}{best}"


def _resolution(request: Asked, family: ModelFamily) -> Told:
    allowed, when = family.resolutions, ""
    if request.draft:
        allowed, when = (DRAFT_RESOLUTION,), " for a draft"
    elif request.number("draft_task") and family.final_resolutions != family.resolutions:
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
    elif family.adaptive_needs_image and request.ratio == "adaptive" and not request.has_image:
        told = f"{family.title} takes `adaptive` only with an image, whose ratio it is"
        yield (request.name("ratio"),), told, f"{request.name('ratio')}: 16:9"
    elif family.frames_fix_ratio and request.number("first_frame") and request.ratio not in _NO_RATIO:
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
        stepped = _FRAME_BASE + round((value - _FRAME_BASE) / _FRAME_STEP) * _FRAME_STEP
        hint = f"25 + 4n, from {least} to {most}: {min(max(stepped, least), most)}"
        yield ("frames",), f"{family.title} does not make {value} frames", hint


def _seed(request: Asked, family: ModelFamily) -> Told:
    if request.has_seed and family.honours_seed is False:
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
    elif request.draft and request.wants_last_frame:
        yield (request.name("last_frame"),), "a draft has no last frame", "remove it, or `draft`"
    if request.number("draft_task") and not family.draft:
        yield request.first("draft_task"), f"{family.title} makes no finals of drafts", "remove it"


def _flex(request: Asked, family: ModelFamily) -> Told:
    if not request.is_flex:
        return
    if not family.flex:
        yield (request.name("flex"),), f"{family.title} has no flex tier", "remove it"
    elif request.draft:
        yield (request.name("flex"),), "a draft is not made on the flex tier", "remove it, or `draft`"


def _priority(request: Asked, family: ModelFamily) -> Told:
    if request.priority and not family.priority:
        yield ("priority",), f"{family.title} has no `priority`", "remove it"


def _frame_roles(request: Asked, family: ModelFamily) -> Told:
    for role, is_taken in (("first_frame", family.first_frame), ("last_frame", family.last_frame)):
        number = request.number(role)
        if number and not is_taken:
            yield request.first(role), f"{family.title} takes no {role}", "remove it, or use another model"
        elif number > 1:
            yield request.first(role), f"{number} images are the {role}", "give each its own `role`"
    if request.number("last_frame") and not request.number("first_frame"):
        yield request.first("last_frame"), "a last_frame needs a first_frame", "add the first frame"


def _modes(request: Asked, _family: ModelFamily) -> Told:
    if request.has_references and (request.number("first_frame") or request.number("last_frame")):
        yield (
            request.first(*REFERENCES),
            "references exclude first and last frames",
            "keep the frames, or give every image `role: reference_image`",
        )


def _references(request: Asked, family: ModelFamily) -> Told:
    for role, most in (
        ("reference_image", family.reference_images),
        ("reference_video", family.reference_videos),
        ("reference_audio", family.reference_audios),
    ):
        number, words = request.number(role), role.replace("_", " ") + "s"
        if number and not most:
            yield request.first(role), f"{family.title} takes no {words}", "remove them"
        elif number > most:
            yield request.first(role), f"{number} {words}; {family.title} takes {most}", "remove some"
    number = sum(map(request.number, REFERENCES))
    if family.takes_references and number > family.most_references:
        told = f"{number} references; {family.title} takes {family.most_references} in all"
        yield request.first(*REFERENCES), told, "remove some"


def _needs_image(request: Asked, family: ModelFamily) -> Told:
    if family.needs_image and not request.has_image:
        yield ("content",), f"{family.title} needs an image", "add an image_url item"


def _audio_alone(request: Asked, family: ModelFamily) -> Told:
    if family.audio_alone:
        return
    has_picture = any(item.kind in ("image_url", "video_url", "draft_task") for item in request.items)
    if not has_picture and any(item.kind == "audio_url" for item in request.items):
        told = f"{family.title} takes sound only with an image or a video"
        yield request.first("reference_audio"), told, "add an image or a video, or remove the sound"


MODEL_RULES: Mapping[str, tuple[Level, Check]] = {
    "retired": (Level.WARN, _retired),
    "resolution": (Level.ERROR, _resolution),
    "ratio": (Level.ERROR, _ratio),
    "duration": (Level.ERROR, _duration),
    "frames": (Level.ERROR, _frames),
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


def check_model(request: Asked, family: ModelFamily) -> tuple[LintFinding, ...]:
    """The fields of the request that a model of this family would refuse or ignore."""
    return tuple(
        LintFinding(rule, path, message, hint)
        for rule, (_, check) in MODEL_RULES.items()
        for path, message, hint in check(request, family)
    )
