"""A POST's body -> VideoRequest, refusing what the service refuses (wire/mesh-api.md, seedance.md)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.sandbox.media_items import BadItem, MediaItem, is_http_url, read_content
from runner.sandbox.models import RATIOS, Family, find_family, nearest_family, nearest_ratio

DEFAULT_EXPIRY = 172_800
DEFAULT_RESOLUTION = "720p"
DEFAULT_DURATION = 5

_DRAFT_RESOLUTION = "480p"
_MODEL_ID = re.compile(r"[^\s\ud800-\udfff]+")


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """What the service answers instead of accepting."""

    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = [{"loc": ["body", *field.split(".")], "msg": message}] if field else []


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(422, "validation_error", f"{field}: {message}", field)


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A valid request with its defaults filled in.

    `seed` is None where none was sent or the service shall pick (-1). Exactly one of `duration`
    (seconds) and `frames` is set. `first`, `last` are the frames given, `references` all other
    media. `digest` names all that decides the picture but the seed.
    """

    model: str
    family: Family
    prompt: str
    first: MediaItem | None
    last: MediaItem | None
    references: tuple[MediaItem, ...]
    draft_task_id: str | None
    callback_url: str | None
    return_last_frame: bool
    service_tier: str
    execution_expires_after: int
    generate_audio: bool
    draft: bool
    resolution: str
    ratio: str
    duration: int | None
    frames: int | None
    seed: int | None
    camera_fixed: bool
    watermark: bool
    safety_identifier: str | None
    priority: int
    digest: str

    @property
    def frame_count(self) -> int:
        """24 fps and one more (wire/seedance.md)."""
        return self.frames if self.frames is not None else 24 * (self.duration or 0) + 1

    @property
    def size(self) -> tuple[int, int]:
        """Nominal (width, height) in pixels."""
        return self.family.size(self.resolution, self.ratio)

    @property
    def note(self) -> str:
        """What the sandbox has to say of a model that it does not know; else empty."""
        if self.family.has_limits:
            return ""
        return f"unknown model, made as Seedance {self.family.title} without limits"


def _is_integer(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_TYPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "callback_url": ("a string", _is_text),
    "service_tier": ("a string", _is_text),
    "execution_expires_after": ("an integer", _is_integer),
    "generate_audio": ("a boolean", _is_flag),
    "draft": ("a boolean", _is_flag),
    "resolution": ("a string", _is_text),
    "ratio": ("a string", _is_text),
    "duration": ("an integer", _is_integer),
    "frames": ("an integer", _is_integer),
    "seed": ("an integer", _is_integer),
    "camera_fixed": ("a boolean", _is_flag),
    "watermark": ("a boolean", _is_flag),
    "safety_identifier": ("a string", _is_text),
    "priority": ("an integer", _is_integer),
}
"""Each may also be null or absent; `model`, `content` and `return_last_frame` are checked by themselves."""

_ITEM_OBJECTS = ("image_url", "video_url", "audio_url", "draft_task")


def read_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises Refusal."""

    def refuse_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")

    try:
        document = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, "validation_error", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refusal(422, "validation_error", "the body is not a JSON object")
    return document


def check_types(document: dict[str, Any]) -> None:
    """Field by field what the OpenAPI document says of VideoGenerationRequest. Raises Refusal."""
    for name in ("model", "content"):
        if name not in document:
            raise _invalid(name, "field required")
    if not isinstance(document["model"], str):
        raise _invalid("model", "must be a string")
    if not isinstance(document.get("return_last_frame", False), bool):
        raise _invalid("return_last_frame", "must be a boolean")
    for name, (wanted, check) in _TYPES.items():
        if document.get(name) is not None and not check(document[name]):
            raise _invalid(name, f"must be {wanted}")
    if not isinstance(document["content"], list):
        raise _invalid("content", "must be an array")
    for index, item in enumerate(document["content"]):
        where = f"content.{index}"
        if not isinstance(item, dict):
            raise _invalid(where, "must be an object")
        if not isinstance(item.get("type"), str):
            raise _invalid(f"{where}.type", "must be a string")
        for name in ("text", "role"):
            if item.get(name) is not None and not isinstance(item[name], str):
                raise _invalid(f"{where}.{name}", "must be a string")
        for name in _ITEM_OBJECTS:
            if item.get(name) is not None and not isinstance(item[name], dict):
                raise _invalid(f"{where}.{name}", "must be an object")


def read_request(body: bytes) -> VideoRequest:
    """The request that a body holds. Raises Refusal with the answer to give."""
    document = read_json(body)
    check_types(document)
    given = {name: value for name, value in document.items() if value is not None}
    if not _MODEL_ID.fullmatch(given["model"]):
        raise Refusal(422, "model_not_found", f"model {given['model']!r} is not a model", "model")
    family = find_family(given["model"]) or nearest_family(given["model"])
    if not given["content"]:
        raise _invalid("content", "must hold at least one item")
    try:
        prompt, media, draft_task_id = read_content(
            given["content"], heic=family.heic, any_image=not family.has_limits
        )
    except BadItem as error:
        raise _invalid("content", str(error)) from error
    first, last, references = _sort_media(media, is_strict=family.has_limits)
    _check_ranges(given)
    if family.has_limits:
        _check_roles(family, first, last, references)
        _check_mode(family, prompt, media, draft_task_id)
        _check_abilities(given, family, bool(references), bool(draft_task_id))
        _check_ratio(given, family, bool(first))
    resolution = str(given.get("resolution", _DRAFT_RESOLUTION if given.get("draft") else DEFAULT_RESOLUTION))
    duration, frames = _read_length(given, family)
    first_image = next((item for item in (first, last, *references) if item and item.size), None)
    callback = given.get("callback_url")
    if callback is not None and not is_http_url(callback):
        raise _invalid("callback_url", "must be an http(s) URL")
    seed = int(given.get("seed", -1))
    return VideoRequest(
        model=given["model"],
        family=family,
        prompt=prompt,
        first=first,
        last=last,
        references=references,
        draft_task_id=draft_task_id,
        callback_url=callback,
        return_last_frame=given.get("return_last_frame", False),
        service_tier=given.get("service_tier", "default"),
        execution_expires_after=int(given.get("execution_expires_after", DEFAULT_EXPIRY)),
        generate_audio=given.get("generate_audio", family.audio),
        draft=given.get("draft", False),
        resolution=resolution,
        ratio=_resolve_ratio(given.get("ratio"), first_image),
        duration=duration,
        frames=frames,
        seed=None if seed < 0 else seed,
        camera_fixed=given.get("camera_fixed", False),
        watermark=given.get("watermark", False),
        safety_identifier=given.get("safety_identifier"),
        priority=int(given.get("priority", 0)),
        digest=_digest(given, prompt, media),
    )


def _sort_media(
    media: tuple[MediaItem, ...], *, is_strict: bool
) -> tuple[MediaItem | None, MediaItem | None, tuple[MediaItem, ...]]:
    """(first frame, last frame, references), by role. Raises Refusal."""
    images = [item for item in media if item.kind == "image_url"]
    by_role: dict[str, list[MediaItem]] = {}
    for item in media:
        kind = item.kind.removesuffix("_url")
        role = item.role
        if not role:
            if is_strict and kind == "image" and len(images) > 1:
                raise _invalid("content", "several images need a role each")
            role = "first_frame" if kind == "image" else f"reference_{kind}"
        roles = {"first_frame", "last_frame", "reference_image"} if kind == "image" else {f"reference_{kind}"}
        if role not in roles:
            raise _invalid("content", f"role {role!r} is not one for {item.kind}")
        by_role.setdefault(role, []).append(item)
    first, last = by_role.pop("first_frame", []), by_role.pop("last_frame", [])
    if is_strict and (len(first) > 1 or len(last) > 1):
        raise _invalid("content", "one first_frame and one last_frame at most")
    references = tuple(item for items in by_role.values() for item in items)
    return (first[0] if first else None), (last[0] if last else None), references


def _check_roles(
    family: Family, first: MediaItem | None, last: MediaItem | None, references: tuple[MediaItem, ...]
) -> None:
    if last and not first:
        raise _invalid("content", "a last_frame needs a first_frame")
    if first and references:
        raise _invalid("content", "first frame, first and last frame, and references exclude each other")
    if (first and not family.first_frame) or (last and not family.last_frame):
        raise _invalid("content", f"{family.title} takes no {'last_frame' if last else 'first_frame'}")
    kinds = [item.kind for item in references]
    if kinds.count("image_url") > family.reference_images:
        raise _invalid("content", f"{family.title} takes {family.reference_images} reference images at most")
    for kind in ("video_url", "audio_url"):
        if kinds.count(kind) > family.reference_media:
            raise _invalid("content", f"too many items of type {kind} for {family.title}")
    if len(kinds) > family.most_references:
        raise _invalid("content", f"{family.title} takes {family.most_references} references in all")


def _check_mode(family: Family, prompt: str, media: tuple[MediaItem, ...], draft_task_id: str | None) -> None:
    if draft_task_id is not None and (not family.draft or media):
        raise _invalid("content", f"{family.title}: draft_task is not possible here")
    if family.needs_image and not any(item.kind == "image_url" for item in media):
        raise _invalid("content", f"{family.title} needs an image")
    if not family.audio_alone and not prompt and media and all(item.kind == "audio_url" for item in media):
        raise _invalid("content", "audio cannot be the sole input")


def _check_ranges(given: dict[str, Any]) -> None:
    for name, low, high in (
        ("seed", -1, 4_294_967_295),  # older documents allow it; newer ones end at 2147483647
        ("priority", 0, 9),
        ("execution_expires_after", 3_600, 259_200),
    ):
        if name in given and not low <= given[name] <= high:
            raise _invalid(name, f"must be from {low} to {high}")
    if len(given.get("safety_identifier", "")) > 64:
        raise _invalid("safety_identifier", "must have at most 64 characters")
    if given.get("service_tier", "default") not in ("default", "flex"):
        raise _invalid("service_tier", "must be default or flex")
    if "duration" in given and "frames" in given:
        raise _invalid("frames", "duration and frames exclude each other")


def _check_ratio(given: dict[str, Any], family: Family, with_frames: bool) -> None:
    ratio = given.get("ratio", "adaptive")
    if ratio not in (*RATIOS, "adaptive"):
        raise _invalid("ratio", f"must be one of {', '.join(RATIOS)}, adaptive")
    if family.frames_fix_ratio and with_frames and ratio != "adaptive":
        raise _invalid("ratio", f"{family.title} takes adaptive here")


def _check_abilities(given: dict[str, Any], family: Family, with_references: bool, with_draft: bool) -> None:
    """What this family cannot do is refused when it is asked for; null, false and 0 ask for nothing."""
    draft = bool(given.get("draft"))
    asked = {
        "camera_fixed": bool(given.get("camera_fixed")) and (not family.camera_fixed or with_references),
        "generate_audio": bool(given.get("generate_audio")) and not family.audio,
        "draft": draft and not family.draft,
        "service_tier": given.get("service_tier") == "flex" and (not family.flex or draft),
        "priority": bool(given.get("priority")) and not family.priority,
        "return_last_frame": bool(given.get("return_last_frame")) and draft,
        "frames": "frames" in given and not family.frames,
    }
    for name, refused in asked.items():
        if refused:
            raise _invalid(name, f"not supported by {family.title} in this request")
    resolutions = family.resolutions
    if draft:
        resolutions = (_DRAFT_RESOLUTION,)
    elif with_draft and family.final_resolutions:
        resolutions = family.final_resolutions
    elif with_references and not family.reference_media:
        resolutions = tuple(each for each in resolutions if each != "1080p")
    if given.get("resolution", resolutions[0]) not in resolutions:
        raise _invalid("resolution", f"{family.title} takes {', '.join(resolutions)} here")


def _read_length(given: dict[str, Any], family: Family) -> tuple[int | None, int | None]:
    if "frames" in given:
        frames = int(given["frames"])
        if family.has_limits and (not 29 <= frames <= 289 or (frames - 25) % 4):
            raise _invalid("frames", "must be 25 + 4n, from 29 to 289")
        return None, frames
    duration = int(given.get("duration", DEFAULT_DURATION))
    if duration == -1 and (family.auto_duration or not family.has_limits):
        return DEFAULT_DURATION, None
    low, high = family.durations
    if family.has_limits and not low <= duration <= high:
        raise _invalid("duration", f"{family.title} takes {low} to {high} seconds")
    return duration, None


def _resolve_ratio(ratio: str | None, image: MediaItem | None) -> str:
    """Without a ratio the service adapts to the first image; without an image it takes 16:9."""
    if ratio is not None and ratio != "adaptive":
        return ratio
    return nearest_ratio(*image.size) if image is not None and image.size else "16:9"


_NO_PICTURE = frozenset(
    {
        "callback_url",
        "execution_expires_after",
        "priority",
        "return_last_frame",
        "safety_identifier",
        "seed",
        "service_tier",
        "content",
    }
)
"""Fields that do not change the picture; the seed is kept apart, content enters as digests."""


def _digest(given: dict[str, Any], prompt: str, media: tuple[MediaItem, ...]) -> str:
    deciding = {name: value for name, value in given.items() if name not in _NO_PICTURE and name in _TYPES}
    deciding["model"] = given["model"]
    deciding["content"] = [prompt, *([item.kind, item.role, item.digest] for item in media)]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
