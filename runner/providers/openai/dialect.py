"""One prompt, and a picture to begin with, as a form or as JSON; the server's row says the rest."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from runner.http.multipart import FormPart, encode_form
from runner.json_value import JsonValue
from runner.providers.base import Body, InputFile
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
from runner.providers.openai.servers import REFERENCE, Server, UrlForm

IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
"""Types of pictures, with the suffix of a file."""
FIRST = "input_reference"
"""The field of the picture to begin with."""

_DATA = re.compile(r"data:(image/(?:png|jpeg|webp))(;base64)?,", re.IGNORECASE)
_LENGTH = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, eq=False)
class VideosDialect(Dialect):
    """The common words for one kind of server. `every_field` are the fields of all kinds."""

    server: Server = REFERENCE
    every_field: frozenset[str] = frozenset()

    def lacks(self, model: str) -> frozenset[str]:
        """The fields, by their own names, that another kind of server has and this one has not."""
        return self.every_field - self.server.fields

    def request(self, fields: Request, content: Content) -> Request:
        """Text is the `prompt`, an image `input_reference`, resolution and ratio a `size`.

        Raises CannotSayError.
        """
        request = dict(fields)
        self._refuse_foreign(request)
        self._put_size(request)
        self._put_seconds(request)
        for number, item in enumerate(content):
            image = item.get("image_url")
            if item.get("type") == "text":
                request["prompt"] = item["text"]
            elif isinstance(image, dict):
                if refusal := _refuse_role(number, str(item.get("role", "first_frame"))):
                    raise CannotSayError(refusal)
                request[FIRST] = [{"url": image["url"]}]
        return request

    def _refuse_foreign(self, request: Request) -> None:
        for name in request:
            if name in self.lacks(str(request.get("model"))):
                told = f"the dialect {self.server.name} has no `{name}`"
                raise CannotSayError(Refusal((name,), told, "remove it"))

    def _put_size(self, request: Request) -> None:
        """`size`, in place of the common words for it."""
        resolution, ratio = request.pop("resolution", None), request.pop("ratio", None)
        size, sizes = request.get("size"), self.server.sizes
        if resolution is None and ratio is None:
            taken = sorted(sizes.values())
            if size is not None and self.server.only_sizes and size not in taken:
                told = f"the dialect {self.server.name} takes the sizes {', '.join(taken)}"
                raise CannotSayError(Refusal(("size",), told, f"size: {taken[0]}"))
            return
        given = "ratio" if resolution is None else "resolution"
        if size is not None:
            told = "`size` says it already"
            raise CannotSayError(Refusal((given,), told, f"remove `{given}`, or `size`"))
        if resolution is None or ratio is None:
            other, example = ("resolution", "720p") if resolution is None else ("ratio", "16:9")
            told = f"a size needs both `resolution` and `ratio` in the dialect {self.server.name}"
            raise CannotSayError(Refusal((given,), told, f"{other}: {example}"))
        found = sizes.get((str(resolution), str(ratio)))
        if found is None:
            is_known = any(resolution == each for each, _ in sizes)
            told = f"the dialect {self.server.name} has no size for {resolution} at {ratio}"
            hint = "write the pixels: `size: 1280x720` in place of `resolution` and `ratio`"
            if self.server.only_sizes:
                hint = ", ".join(" at ".join(pair) for pair in sizes)
            raise CannotSayError(Refusal(("ratio" if is_known else "resolution",), told, hint))
        request["size"] = found

    def _put_seconds(self, request: Request) -> None:
        """`seconds` as the server writes it."""
        seconds = request.get("seconds")
        if seconds is None or not _LENGTH.fullmatch(str(seconds)):
            return  # the schema tells it
        lengths = self.server.lengths
        if lengths and int(str(seconds)) not in lengths:
            taken = ", ".join(map(str, lengths))
            told = f"the dialect {self.server.name} takes {taken} seconds"
            raise CannotSayError(Refusal(("seconds",), told, f"seconds: {lengths[0]}"))
        request["seconds"] = self.server.seconds(str(seconds))

    def hear(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """A request, or its echo, with the common words beside the server's own."""
        heard = dict(request)
        for word, own in self.words.items():
            heard[word] = request.get(own)
        seconds, size = request.get("seconds"), request.get("size")
        if _LENGTH.fullmatch(str(seconds)):
            heard["duration"] = int(str(seconds))
        for (resolution, ratio), each in self.server.sizes.items():
            if each == size:
                heard["resolution"], heard["ratio"] = resolution, ratio
        return heard

    def urls(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        if url := _first_url(request):
            yield (FIRST, 0, "image_url"), url

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        texts = [number for number, item in enumerate(items) if item.kind == "text"]
        if not texts:
            yield Refusal(("content",), "openai needs a prompt", "add {type: text, text: A teapot spins}")
        for number in texts[1:]:
            yield Refusal(("content", number), "openai takes one text, as its prompt", "join the texts")
        images = [number for number, item in enumerate(items) if item.kind == "image_url"]
        for number in images[1:]:
            yield Refusal(("content", number), "openai takes one image, to begin with", "keep one image_url")
        for number, item in enumerate(items):
            if item.kind == "image_url":
                if item.is_reference:
                    told = "openai makes no last frame that a step could begin with"
                    yield Refusal(("content", number, item.kind), told, "give an image of yours")
                if item.role is not None and (refusal := _refuse_role(number, item.role)):
                    yield refusal
            elif item.kind == "draft_task":
                told = "callsheet asks openai for no remix, edit or extension of a video"
                yield Refusal(("content", number), told, "remove it, and let the prompt ask for a new video")
            elif item.kind != "text":
                yield Refusal(("content", number), f"openai takes no {item.kind}", "remove it")

    def refuse_url(self, url: str) -> tuple[str, str] | None:
        if url[:5].casefold() == "data:" and not _DATA.match(url):
            return "openai takes png, jpeg and webp images", "data:image/png;base64,..."
        return None

    def refuse_file(self, file: InputFile) -> tuple[str, str] | None:
        if file.media_type not in IMAGES:
            told = f"openai takes png, jpeg and webp images; this is {file.media_type}"
            return told, "save it as PNG or JPEG"
        return None

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """A form where a file goes along or the server wants one, else JSON; the same request gives the same
        bytes.
        """
        sent = {**added, **{name: value for name, value in request.items() if value is not None}}
        sent.pop(FIRST, None)
        file: FormPart | None = None
        url = _first_url(request)
        if url:
            found = media(url)
            data = _DATA.match(found) if isinstance(found, str) else None
            if isinstance(found, str) and data is not None:
                file = _file_part(found, data)
            else:
                name, value = self._reference(found)
                sent[name] = value
        if file is None and not self.server.multipart_only:
            content = json.dumps(sent, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
            return Body(self.path, content, headers=self.server.headers)
        parts = [FormPart(name, _form_text(value).encode()) for name, value in sent.items()]
        content, content_type = encode_form([*parts, *([file] if file is not None else [])])
        return Body(self.path, content, content_type, self.server.headers)

    def _reference(self, url: JsonValue) -> tuple[str, JsonValue]:
        match self.server.url_form:
            case UrlForm.OBJECT:
                return FIRST, {"image_url": url}
            case UrlForm.TEXT:
                return "image_reference", json.dumps({"image_url": url}, separators=(",", ":"))
            case UrlForm.FIELD:
                return "reference_url", url


def _first_url(request: Mapping[str, JsonValue]) -> str:
    """Of the picture to begin with; empty where there is none."""
    images = request.get(FIRST)
    image = images[0] if isinstance(images, (list, tuple)) and images else None
    url = image.get("url") if isinstance(image, Mapping) else None
    return url if isinstance(url, str) else ""


def _file_part(uri: str, head: re.Match[str]) -> FormPart:
    """The bytes of a data URI as a file."""
    media_type, data = head[1].lower(), uri[head.end() :]
    content = base64.b64decode(data) if head[2] else unquote_to_bytes(data)
    return FormPart(FIRST, content, f"{FIRST}.{IMAGES[media_type]}", media_type)


def _form_text(value: JsonValue) -> str:
    """A value as a field of a form: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), allow_nan=False)


def _refuse_role(number: int, role: str) -> Refusal | None:
    if role == "first_frame":
        return None
    told = f"openai takes an image to begin with, and no {role}"
    return Refusal(("content", number, "role"), told, "role: first_frame")
