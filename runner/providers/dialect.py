"""How a service is spoken to: the words of a job file as its request, and its request in the common words.

Pure: no network, no clock, no files. A service that takes the common words as they are needs no dialect of
its own; each other one overrides what it says differently.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from runner.json_value import JsonValue
from runner.providers.base import Body, InputFile
from runner.providers.models import ModelFamily

Request = dict[str, JsonValue]
Content = Sequence[dict[str, JsonValue]]
RequestPath = tuple[str | int, ...]
MediaUrl = Callable[[JsonValue], JsonValue]
"""The URL as it is sent: a data URI in place of a local file's reference."""

_MEDIA = ("image_url", "video_url", "audio_url")
REFERENCES = ("reference_image", "reference_video", "reference_audio")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service cannot be told. `path` is in the request, or ("content", number, part) of the job."""

    path: RequestPath
    message: str
    hint: str = ""


class CannotSayError(Exception):
    """The content cannot be said to this service."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """A content item before its cells are known.

    `role` is None where an expression decides it; an image without one is the first frame.
    `is_reference`: it takes what another step makes.
    """

    kind: str
    role: str | None
    is_reference: bool


# Named tuples: a linter makes and hashes one for each of 100,000 tasks, in half the time of dataclasses.


class Item(NamedTuple):
    """A content item in a request; an image without a role is the first frame. `path` is its role's."""

    path: RequestPath
    kind: str
    role: str


class Asked(NamedTuple):
    """A request in the common words; `resolution` to `priority` are its fields."""

    model: str
    resolution: JsonValue
    ratio: JsonValue
    duration: JsonValue
    frames: JsonValue
    camera_fixed: JsonValue
    generate_audio: JsonValue
    draft: JsonValue
    priority: JsonValue
    has_seed: bool
    is_flex: bool
    wants_last_frame: bool
    items: tuple[Item, ...]
    dialect: Dialect
    own: tuple[tuple[str, str], ...] = ()
    """The service's own fields that are set, with their values as text."""

    def name(self, word: str) -> str:
        """The service's own field for a common word, or for `flex` or `last_frame`."""
        return self.dialect.names.get(word, word)

    def number(self, role: str) -> int:
        return sum(item.role == role for item in self.items)

    def first(self, *roles: str) -> RequestPath:
        """The place of the first item with one of these roles; the content where there is none."""
        return next((item.path for item in self.items if item.role in roles), ("content",))

    @property
    def has_image(self) -> bool:
        return any(item.kind == "image_url" for item in self.items)

    @property
    def has_references(self) -> bool:
        return any(item.role in REFERENCES for item in self.items)


_WORDS: tuple[str, ...] = Asked._fields[1:9]
"""`resolution` to `priority`."""


class Form(NamedTuple):
    """Another form of a value: `say` makes the service's own of a job file's, and `hear` a common one of the
    service's own. Each leaves a value as it is that it does not know, its own form included.
    """

    say: Callable[[JsonValue], JsonValue]
    hear: Callable[[JsonValue], JsonValue]


def _digits(value: JsonValue) -> JsonValue:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: JsonValue) -> JsonValue:
    return int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value


_WHOLE_NUMBER = re.compile("-?[0-9]{1,9}")
DIGITS: Final = Form(_digits, _number)
"""A whole number as text: "5"."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The common words, as they are: `content` is a list of items, and each field has its job file's name.

    `path` is where submits go, after the origin. `words` are common words that have another name here, and
    `forms` the fields, by their own names, whose values have another form. `composed` are common words that
    have no field here: `request` makes other fields from them, and `hear` turns those back. `flex_field` is
    where `flex` asks for the slow, cheap tier, `last_frame_field` where true asks for the last frame; both
    are empty where that cannot be asked. `own_fields` are fields of the service's own that `refuse_request`
    reads. `address_schemes` begin addresses that the service knows beside https. `text_fields` hold the
    prompts; a service without them has them among its items. `reads_flags`: a setting in a prompt, such as
    `--dur 5`, is obeyed, so it goes around the request.
    """

    path: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    flex_field: str = ""
    last_frame_field: str = ""
    items_field: str = "content"
    text_fields: tuple[str, ...] = ()
    own_fields: tuple[str, ...] = ()
    address_schemes: tuple[str, ...] = ()
    reads_flags: bool = False
    forms: Mapping[str, Form] = field(default_factory=dict)
    composed: frozenset[str] = frozenset()

    @functools.cached_property
    def names(self) -> Mapping[str, str]:
        return {**self.words, "flex": self.flex_field, "last_frame": self.last_frame_field}

    def lacks(self, model: str) -> frozenset[str]:
        """The fields, by their own names, and the composed words that this model of the service has not."""
        return frozenset()

    def value(self, field: str, value: JsonValue) -> JsonValue:
        """A job file's value of a field, which has its own name, as the service has it."""
        form = self.forms.get(field)
        return value if form is None or value is None else form.say(value)

    def hear(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """A request, or its echo, whose fields have the common words' names and values too."""
        if not self.words and not self.forms:
            return request
        heard = dict(request)
        for own, form in self.forms.items():
            heard[own] = form.hear(request.get(own))
        renamed = {word: heard.get(own) for word, own in self.words.items()}
        return {**heard, **renamed}

    def request(self, fields: Request, content: Content) -> Request:
        """The request of one cell: its model and fields, and its content items. Raises CannotSayError.

        `fields` have the service's own names and values, except the words that are `composed`.
        """
        # the tasks of a plan share the items that no cell changes
        return {**fields, "content": [*content]}

    def asked(self, request: Mapping[str, JsonValue]) -> Asked:
        """A request, or its echo, in the common words."""
        get, heard = request.get, self.hear(request)
        items = get(self.items_field)
        said = tuple([_said(item) for item in items]) if isinstance(items, list) else ()
        return Asked._make(
            (
                str(get("model")),
                *map(heard.get, _WORDS),
                "seed" in request,
                get(self.flex_field) == "flex",
                get(self.last_frame_field) is True,
                _placed(self.items_field, said),
                self,
                tuple([(name, str(get(name))) for name in self.own_fields if get(name) is not None]),
            )
        )

    def texts(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        """The texts that the pictures are made from, each with its place."""
        for name in self.text_fields:
            if isinstance(written := request.get(name), str):
                yield (name,), written
        content = request.get("content")
        for number, item in enumerate(content if isinstance(content, (list, tuple)) else ()):
            text = item.get("text") if isinstance(item, dict) else None
            if isinstance(text, str):
                yield ("content", number, "text"), text

    def urls(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        """The URL of each media item as it stands in the request, with its place."""
        content = request.get("content")
        for number, item in enumerate(content if isinstance(content, (list, tuple)) else ()):
            if not isinstance(item, dict):
                continue
            for kind in _MEDIA:
                target = item.get(kind)
                url = target.get("url") if isinstance(target, dict) else None
                if isinstance(url, str):
                    yield ("content", number, kind), url

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        """Refuses items whose kind, number or role the service does not take, whatever the cells hold."""
        yield from ()

    def refuse_url(self, url: str) -> tuple[str, str] | None:
        """(what is wrong, what to do) with a URL or data URI that is not taken."""
        return None

    def refuse_file(self, file: InputFile) -> tuple[str, str] | None:
        """(what is wrong, what to do) with a local file that is not taken."""
        return None

    def is_by_url(self, file: InputFile) -> bool:
        """Whether a file of this kind is taken by its URL alone."""
        return False

    def refuse_request(self, asked: Asked, family: ModelFamily) -> Iterator[Refusal]:
        """Refuses what the service takes of this family's models in no case, beyond the rules for models."""
        yield from ()

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """The exact POST: compact JSON, absent instead of null, local files by `media`.

        `added` is what the job may set itself, and then is sent as the job sets it.
        """
        sent = {name: _plain(value) for name, value in request.items() if value is not None}
        sent = self.with_media(sent, media)
        for name, value in added.items():
            sent.setdefault(name, value)
        content = json.dumps(sent, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        return Body(self.path, content)

    def with_media(self, request: Request, media: MediaUrl) -> Request:
        """The request with the URL of each media item as it is sent."""
        content = request.get("content")
        if not isinstance(content, list):
            return request
        return {**request, "content": [_with_media(item, media) for item in content]}


def _said(item: JsonValue) -> tuple[str, str]:
    """(kind, role) of an item; without a type it is an image."""
    if not isinstance(item, dict):
        return "", ""
    return str(item.get("type", "image_url")), str(item.get("role") or "")


@functools.lru_cache(maxsize=1024)
def _placed(field: str, said: tuple[tuple[str, str], ...]) -> tuple[Item, ...]:
    """By the (kind, role) of each item, which most tasks of a plan share."""
    items: list[Item] = []
    for number, (kind, role) in enumerate(said):
        default = "first_frame" if kind == "image_url" else f"reference_{kind.removesuffix('_url')}"
        own = role or (default if kind.endswith("_url") else kind)
        items += [Item((field, number, "role"), kind, own)] if kind else []
    return tuple(items)


def _with_media(item: JsonValue, media: MediaUrl) -> JsonValue:
    if not isinstance(item, dict):
        return item
    sent = dict(item)
    for name in _MEDIA:
        found = sent.get(name)
        # the OpenAPI document wants the object; some of the service's pages show the bare string
        target = {"url": found} if isinstance(found, str) else found
        if isinstance(target, dict):
            sent[name] = {**target, "url": media(target.get("url"))}
    return sent


def _plain(value: JsonValue) -> JsonValue:
    """Plain dicts and lists, null fields left out."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
