"""What a job file says, in the shape that each provider's POST has.

A task's request has this shape already, so that identity, plan and manifest show what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from runner.job.model import ContentItem, OnAmbiguous, Reference
from runner.job.problems import Checked, ProblemError
from runner.job.seeds import Seeds
from runner.job.values import Constant, Value
from runner.job.yaml.nodes import Location, Node, Scalar
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.json_value import JsonValue
from runner.providers.base import InputFile
from runner.providers.mesh import MESH

GETIMG = "getimg"

_SAME = {"ratio": "aspect_ratio", "generate_audio": "sound"}
"""Fields of Mesh API by the name that they have at getimg."""
_OTHER = {**_SAME, **{theirs: ours for ours, theirs in _SAME.items()}}
_NOT_SEEN = MESH.not_in_identity | {"return_last_frame"}
"""Fields without which the video is the same."""
GETIMG_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp"})
GETIMG_IMAGE_BYTES = 10 * 2**20
"""Of one image, decoded, by default."""
_GETIMG_DATA = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)
_FIRST, _LAST, _REFERENCE = "first_frame", "last_frame", "reference_image"

Request = dict[str, JsonValue]
Content = Sequence[dict[str, JsonValue]]


class WireError(Exception):
    """The content cannot be said to this provider; `item` is the place of what is in the way."""

    def __init__(self, message: str, hint: str, item: int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.item = item


def own_name(name: str, fields: frozenset[str]) -> str:
    """What another provider's field `name` is called among `fields`; empty where nothing is meant."""
    other = _OTHER.get(name, "")
    return other if other in fields else ""


def mesh_request(fields: Request, content: Content) -> Request:
    """Mesh API takes content items as they are; the tasks of a plan share those that no cell changes."""
    return {**fields, "content": [*content]}


def getimg_request(fields: Request, content: Content) -> Request:
    """The one text is the `prompt`, and images are `images` with roles. Raises WireError."""
    request = dict(fields)
    images: list[JsonValue] = []
    roles: list[JsonValue] = []
    for item in content:
        image = item.get("image_url")
        if item.get("type") == "text":
            request["prompt"] = item["text"]
        elif isinstance(image, dict):
            role = item.get("role", _FIRST)
            images.append({"url": image["url"], "role": role})
            roles.append(role)
    positions = [number for number, item in enumerate(content) if item.get("type") == "image_url"]
    for number, role in zip(positions, roles, strict=True):
        if refusal := _refuse_role(role, roles):
            raise WireError(*refusal, number)
    if images:
        request["images"] = images
    return request


def _refuse_role(role: object, roles: Sequence[object]) -> tuple[str, str] | None:
    """(message, hint) where getimg does not take an image of this role beside the others."""
    if role == _LAST and _FIRST not in roles:
        return "getimg takes a last_frame only with a first_frame", "add the first frame"
    if role == _REFERENCE and {_FIRST, _LAST} & set(roles):
        return (
            "getimg takes a reference_image with neither a first_frame nor a last_frame",
            "keep the frames, or give every image `role: reference_image`",
        )
    return None


WIRE: Mapping[str, Callable[[Request, Content], Request]] = {
    "mesh": mesh_request,
    GETIMG: getimg_request,
}
"""For each provider: model and request fields, and content items resolved, to the request."""


def check_fields(provider: str, fields: frozenset[str], request: Mapping[str, Value]) -> Checked[None]:
    """Each field of `request` that the provider does not have: an error, if the picture depends on it."""
    for name, value in request.items():
        if name not in fields:
            own = own_name(name, fields)
            hint = f"at {provider} it is `{own}`" if own else _instead(name)
            report = value.location.warning if name in _NOT_SEEN else value.location.error
            yield report(f"{provider} has no `{name}`", hint)


def check_axes(
    provider: str,
    fields: frozenset[str],
    axes: Mapping[str, Location],
    request: Mapping[str, Value],
    content: Sequence[ContentItem],
) -> Checked[None]:
    """Each axis named like a field that is called otherwise here, and sets nothing.

    `axes` are the places of the axes, by name. At getimg no use of such an axis excuses it: in a job
    that was written for Mesh API it set the field.
    """
    values = [*request.values(), *(item.payload for item in content), *(item.role for item in content)]
    used = {name for value in values if isinstance(value, Value) for name in value.names}
    for name, location in axes.items():
        own = own_name(name, fields)
        if own and (provider == GETIMG or name not in used):
            message = f"{provider} has no `{name}`, so this axis sets no field"
            yield location.error(message, f"name it `{own}`")


def check_run(provider: str, run: Node | None) -> Checked[None]:
    """A warning for each key under `run` that the provider has nothing for."""
    if provider != GETIMG or not isinstance(run, MappingNode):
        return
    webhook, on_ambiguous = run.get("webhook"), run.get("on_ambiguous")
    if isinstance(webhook, MappingNode):
        yield webhook.location.warning("getimg has no webhooks, so results are polled for", "remove it")
    if isinstance(on_ambiguous, Scalar) and on_ambiguous.value == OnAmbiguous.AUTO:
        yield on_ambiguous.location.warning(
            "getimg has no list to reconcile with, so a submit whose outcome is unclear is held",
            "on_ambiguous: hold",
        )


def check_content(
    provider: str,
    content: Sequence[ContentItem],
    seeds: Seeds | None,
    seeds_location: Location,
    content_location: Location,
) -> Checked[None]:
    """The seeds and the items of content that the provider does not take."""
    if provider != GETIMG:
        return
    if seeds is not None:
        yield seeds_location.error("getimg has no `seed`", f"samples: {len(seeds)}")
    texts = [item for item in content if item.kind == "text"]
    if not texts:
        yield content_location.error("getimg needs a prompt", "add {type: text, text: A teapot spins}")
    for item in texts[1:]:
        yield item.location.error("getimg takes one text, as its prompt", "join the texts")
    yield from _check_roles(content)
    for item in content:
        if item.kind not in ("text", "image_url"):
            yield item.location.error(f"getimg takes no {item.kind}", "remove it, or use provider: mesh")
        elif isinstance(item.payload, Reference):
            message = "getimg makes no last frame that a step could begin with"
            yield item.payload.location.error(message, "use provider: mesh")


def _check_roles(content: Sequence[ContentItem]) -> Checked[None]:
    """What `getimg_request` would refuse in each cell, where no cell decides over a role."""
    images = [item for item in content if item.kind == "image_url"]
    roles = [_constant(item.role) if item.role is not None else _FIRST for item in images]
    for item, role in zip(images, roles, strict=True):
        if None not in roles and (refusal := _refuse_role(role, roles)):
            location = item.role.location if item.role is not None else item.location
            yield location.error(*refusal)


def _constant(value: Value) -> JsonValue:
    return value.content.value if isinstance(value.content, Constant) else None


def check_url(provider: str, text: str, location: Location) -> None:
    """Raises ProblemError for a data URI that getimg does not take."""
    if provider == GETIMG and text[:5].casefold() == "data:" and not _GETIMG_DATA.match(text):
        raise ProblemError(
            location.error("getimg takes png, jpeg and webp images", "data:image/png;base64,...")
        )


def check_file(provider: str, file: InputFile, location: Location) -> None:
    """Raises ProblemError for a local file that getimg does not take."""
    if provider != GETIMG:
        return
    if file.media_type not in GETIMG_IMAGES:
        told = f"getimg takes png, jpeg and webp images; this is {file.media_type}"
        raise ProblemError(location.error(told, "save it as PNG or JPEG"))
    if file.size > GETIMG_IMAGE_BYTES:
        told = f"larger than the {GETIMG_IMAGE_BYTES // 2**20} MiB that getimg takes"
        raise ProblemError(location.error(told, "make it smaller, or give an https URL"))


def _instead(name: str) -> str:
    return "ask for several takes with `samples: N`" if name == "seed" else "remove it, or use provider: mesh"
