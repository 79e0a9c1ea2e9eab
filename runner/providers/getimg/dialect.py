"""getimg.ai takes one prompt and up to eight images with roles, and has other names for two fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from runner.json_value import JsonValue
from runner.providers.base import InputFile
from runner.providers.dialect import (
    CannotSayError,
    Content,
    ContentFacts,
    Dialect,
    MediaUrl,
    Refusal,
    Request,
    RequestPath,
)

IMAGES = frozenset({"image/png", "image/jpeg", "image/webp"})

_DATA = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)
_FIRST, _LAST, _REFERENCE = "first_frame", "last_frame", "reference_image"
_ELSEWHERE = "use provider: mesh"


class GetimgDialect(Dialect):
    def request(self, fields: Request, content: Content) -> Request:
        """The one text is the `prompt`, and images are `images` with roles. Raises CannotSayError."""
        request, images, facts = dict(fields), list[JsonValue](), list[ContentFacts]()
        for item in content:
            kind, role, image = str(item.get("type")), str(item.get("role", _FIRST)), item.get("image_url")
            facts.append(ContentFacts(kind, role, is_reference=False))
            if kind == "text":
                request["prompt"] = item["text"]
            elif isinstance(image, dict):
                images.append({"url": image["url"], "role": role})
        for refusal in _refuse_roles(facts):
            raise CannotSayError(refusal)
        if images:
            request["images"] = images
        return request

    def urls(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        images = request.get("images")
        for number, image in enumerate(images if isinstance(images, (list, tuple)) else ()):
            url = image.get("url") if isinstance(image, dict) else None
            if isinstance(url, str):
                yield ("images", number, "image_url"), url

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        texts = [number for number, item in enumerate(items) if item.kind == "text"]
        if not texts:
            yield Refusal(("content",), "getimg needs a prompt", "add {type: text, text: A teapot spins}")
        for number in texts[1:]:
            yield Refusal(("content", number), "getimg takes one text, as its prompt", "join the texts")
        yield from _refuse_roles(items)
        for number, item in enumerate(items):
            if item.kind not in ("text", "image_url"):
                hint = f"remove it, or {_ELSEWHERE}"
                yield Refusal(("content", number), f"getimg takes no {item.kind}", hint)
            elif item.is_reference:
                told = "getimg makes no last frame that a step could begin with"
                yield Refusal(("content", number, item.kind), told, _ELSEWHERE)

    def refuse_url(self, url: str) -> tuple[str, str] | None:
        if url[:5].casefold() == "data:" and not _DATA.match(url):
            return "getimg takes png, jpeg and webp images", "data:image/png;base64,..."
        return None

    def refuse_file(self, file: InputFile) -> tuple[str, str] | None:
        if file.media_type not in IMAGES:
            told = f"getimg takes png, jpeg and webp images; this is {file.media_type}"
            return told, "save it as PNG or JPEG"
        return None

    def with_media(self, request: Request, media: MediaUrl) -> Request:
        images = request.get("images")
        if not isinstance(images, list):
            return request
        sent: list[JsonValue] = [
            {**image, "url": media(image.get("url"))} for image in images if isinstance(image, dict)
        ]
        return {**request, "images": sent}


def _refuse_roles(items: Sequence[ContentFacts]) -> Iterator[Refusal]:
    """The images that are not taken beside the others; none while an expression decides over a role."""
    images = [(number, item.role) for number, item in enumerate(items) if item.kind == "image_url"]
    roles = {role for _, role in images}
    if None in roles:
        return
    for number, role in images:
        if role == _LAST and _FIRST not in roles:
            told, hint = "getimg takes a last_frame only with a first_frame", "add the first frame"
            yield Refusal(("content", number, "role"), told, hint)
        elif role == _REFERENCE and roles & {_FIRST, _LAST}:
            told = "getimg takes a reference_image with neither a first_frame nor a last_frame"
            hint = "keep the frames, or give every image `role: reference_image`"
            yield Refusal(("content", number, "role"), told, hint)
