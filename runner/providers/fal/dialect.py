"""fal's body is the model's input, and the model's id is the path.

Its last part names the endpoint, which decides what images, videos and sounds may be: the frames of
image-to-video, the references of reference-to-video, nothing for text-to-video.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from runner.json_value import JsonValue
from runner.providers.base import Body
from runner.providers.dialect import (
    DIGITS,
    Asked,
    CannotSayError,
    Content,
    ContentFacts,
    Dialect,
    Form,
    Item,
    MediaUrl,
    Refusal,
    Request,
    RequestPath,
)

ADAPTIVE: Final = Form(
    lambda value: "auto" if value == "adaptive" else value,
    lambda value: "adaptive" if value == "auto" else value,
)
AUTO: Final = Form(
    lambda value: "auto" if value in (-1, "-1") else DIGITS.say(value),
    lambda value: -1 if value == "auto" else DIGITS.hear(value),
)
"""A duration: whole seconds as text, or `auto`, which is -1 elsewhere."""

START_TIMEOUT: Final = 86_400
"""Seconds that a request may wait in the queue; then fal gives it up, free. Without it, a forgotten one could
be made and billed at any time."""
HEADERS: Final = (
    # fal repeats a job up to 10 times, and may send it to another runner, unless it is told not to
    ("X-Fal-No-Retry", "1"),
    ("x-app-fal-disable-fallback", "true"),
    ("X-Fal-Request-Start-Timeout", str(START_TIMEOUT)),
)

_QUERY = ("fal_webhook", "fal_max_queue_length")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+", re.ASCII)
_FIRST, _LAST = "first_frame", "last_frame"
_TEXT, _IMAGE, _REFERENCE = "text-to-video", "image-to-video", "reference-to-video"
_FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("image_url", _FIRST): "image_url",
    ("image_url", _LAST): "end_image_url",
    ("image_url", "reference_image"): "image_urls",
    ("video_url", "reference_video"): "video_urls",
    ("audio_url", "reference_audio"): "audio_urls",
}
"""The field of an item of this kind and role."""
_TAKES: Final[Mapping[str, frozenset[str]]] = {
    _TEXT: frozenset(),
    _IMAGE: frozenset({"image_url", "end_image_url"}),
    _REFERENCE: frozenset({"image_urls", "video_urls", "audio_urls"}),
}
_LISTS = ("image_urls", "video_urls", "audio_urls")
_ROLES: Final = {
    "image_url": _FIRST,
    "video_url": "reference_video",
    "audio_url": "reference_audio",
}
"""Of an item without one."""
_LACKS: Final[Mapping[str, frozenset[str]]] = {
    "2.5": frozenset({"camera_fixed", "enable_safety_checker", "bitrate_mode", "end_user_id"}),
    "2.0": frozenset({"camera_fixed", "enable_safety_checker", "task"}),
    "1.5": frozenset({"task", "bitrate_mode", "end_user_id"}),
}
_DEFAULT_RESOLUTION = "720p"
"""Of the Seedance models. It is not a default of the schema: other models have others."""
_VERSION = re.compile(r"seedance[-/]v?([0-9.]+)(?:/|$)")


class FalDialect(Dialect):
    def lacks(self, model: str) -> frozenset[str]:
        found = _VERSION.search(model)
        return _LACKS.get(found[1], frozenset()) if found else frozenset()

    def request(self, fields: Request, content: Content) -> Request:
        """The text is the `prompt`, and each other item stands in the field of its kind and role, where the
        endpoint has it. Raises CannotSayError.
        """
        model = str(fields.get("model"))
        if not _ID.fullmatch(model):
            told, hint = f"`{model}` is not a model of fal", "bytedance/seedance-2.0/text-to-video"
            raise CannotSayError(Refusal(("model",), told, hint))
        request = {name: self.value(name, value) for name, value in fields.items()}
        for number, item in enumerate(content):
            kind, media = str(item.get("type")), item.get(str(item.get("type")))
            if kind == "text":
                request["prompt"] = media
                continue
            role = str(item.get("role") or _ROLES.get(kind, ""))
            name = _field(model, number, kind, role)
            url = media.get("url") if isinstance(media, dict) else media
            if name in _LISTS:
                before = request.get(name)
                request[name] = [*(before if isinstance(before, list) else ()), url]
            elif name in request:
                told = f"fal takes one {role}"
                raise CannotSayError(Refusal(("content", number, "role"), told, "remove the other one"))
            else:
                request[name] = url
        if _endpoint(model) == _IMAGE and "image_url" not in request:
            told = f"{model} needs a first_frame"
            hint = f"add the image, or use {_sibling(model, _TEXT)}"
            raise CannotSayError(Refusal(("content",), told, hint))
        return request

    def asked(self, request: Mapping[str, JsonValue]) -> Asked:
        items = [
            Item(path, kind, role) for (kind, role), name in _FIELDS.items() for path in _paths(request, name)
        ]
        if isinstance(request.get("prompt"), str):
            items.insert(0, Item(("prompt",), "text", "text"))
        asked = super().asked(request)._replace(items=tuple(items))
        is_default = asked.resolution is None and _VERSION.search(asked.model) is not None
        return asked._replace(resolution=_DEFAULT_RESOLUTION) if is_default else asked

    def urls(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        for name in _FIELDS.values():
            for path in _paths(request, name):
                found = request[name]
                url = found[int(path[1])] if isinstance(found, (list, tuple)) else found
                if isinstance(url, str):
                    yield path, url

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        texts = [number for number, item in enumerate(items) if item.kind == "text"]
        if not texts:
            yield Refusal(("content",), "fal needs a prompt", "add {type: text, text: A teapot spins}")
        for number in texts[1:]:
            yield Refusal(("content", number), "fal takes one text, as its prompt", "join the texts")
        for number, item in enumerate(items):
            if item.kind == "draft_task":
                told, hint = "fal makes no finals of drafts", "remove it, or use provider: mesh"
                yield Refusal(("content", number), told, hint)
            elif item.is_reference:
                told = "fal makes no last frame that a step could begin with"
                yield Refusal(("content", number, item.kind), told, "use provider: mesh")

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """The POST: the input without the model, which is the path, and without what stands in the query."""
        said = {**added, **{name: value for name, value in request.items() if value is not None}}
        sent = self.with_media({name: value for name, value in said.items() if name not in _QUERY}, media)
        model = str(sent.pop("model"))
        query = urlencode([(name, str(said[name])) for name in _QUERY if name in said])
        content = json.dumps(sent, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        return Body(f"/{quote(model)}" + (f"?{query}" if query else ""), content, headers=HEADERS)

    def with_media(self, request: Request, media: MediaUrl) -> Request:
        sent = dict(request)
        for name in _FIELDS.values():
            found = sent.get(name)
            if isinstance(found, (list, tuple)):
                sent[name] = [media(url) for url in found]
            elif found is not None:
                sent[name] = media(found)
        return sent


def _endpoint(model: str) -> str:
    return model.rsplit("/", 1)[-1]


def _sibling(model: str, endpoint: str) -> str:
    """The same model's other endpoint."""
    return f"{model.rsplit('/', 1)[0]}/{endpoint}"


def _field(model: str, number: int, kind: str, role: str) -> str:
    """Where an item goes. Raises CannotSayError, with the endpoint that takes it."""
    name = _FIELDS.get((kind, role))
    if name is None:
        told = f"fal takes no {kind} as {role or 'anything'}"
        raise CannotSayError(Refusal(("content", number, "role"), told, "remove it"))
    takes = _TAKES.get(_endpoint(model))
    if takes is None or name in takes:
        return name
    other = next(each for each, fields in _TAKES.items() if name in fields)
    told = f"{model} takes no {role}"
    raise CannotSayError(Refusal(("content", number), told, f"use {_sibling(model, other)}"))


def _paths(request: Mapping[str, JsonValue], name: str) -> list[RequestPath]:
    """The places of the URLs in a field."""
    found = request.get(name)
    if isinstance(found, (list, tuple)):
        return [(name, number) for number in range(len(found))]
    return [(name,)] if found is not None else []
