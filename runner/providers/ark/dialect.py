"""Ark takes the common words, each model only some of them, and reads old settings out of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.json_value import JsonValue
from runner.providers.base import Body, InputFile
from runner.providers.dialect import Asked, Dialect, MediaUrl, Refusal
from runner.providers.models import FixedCamera, ModelFamily, load_catalogue

ASSET: Final = "asset://"
MODELS: Final = Path(__file__).with_name("models.yaml")
TASK_TYPE: Final = "omni_reference_task_type"
OWN_FIELDS: Final = ("output_format", TASK_TYPE, "tools")

_DATA = re.compile(r"data:(?:image|audio)/[a-z0-9.+-]+;base64,")
_BY_URL = "ark takes a video by its URL only"
_ASKS_NOTHING: Final[Mapping[str, JsonValue]] = {
    "camera_fixed": False,
    "generate_audio": False,
    "draft": False,
    "priority": 0,
    "service_tier": "default",
    "output_format": "mp4",
    TASK_TYPE: "auto",
}
"""Values that ask a model for nothing. Where it does not know the field, they are not sent."""
_OF_THE_DRAFT = ("ratio", "duration", "frames", "camera_fixed", "generate_audio")


@dataclass(frozen=True, eq=False)
class ArkDialect(Dialect):
    """The common words under their own names."""

    own_fields: tuple[str, ...] = OWN_FIELDS
    address_schemes: tuple[str, ...] = (ASSET,)
    reads_flags: bool = True

    def refuse_url(self, url: str) -> tuple[str, str] | None:
        if url[:5].casefold() == "data:":
            if url[:11].casefold() == "data:video/":
                return _BY_URL, "put it where the service can fetch it: https://..."
            if not _DATA.match(url):
                return "ark takes data URIs of images and sounds, in lower case", "data:image/png;base64,..."
        if url.startswith(ASSET) and not url.removeprefix(ASSET).strip():
            return "an asset has an id", "asset://<id>"
        return None

    def refuse_file(self, file: InputFile) -> tuple[str, str] | None:
        if self.is_by_url(file):
            return (
                _BY_URL,
                "put it where the service can fetch it: https://..., or name `uploads:` in callsheet.yaml",
            )
        return None

    def is_by_url(self, file: InputFile) -> bool:
        return file.media_type.startswith("video/")

    def refuse_request(self, asked: Asked, family: ModelFamily) -> Iterator[Refusal]:
        own = dict(asked.own)
        for name in own:
            if name in family.lacks and own[name] != _ASKS_NOTHING.get(name):
                yield Refusal((name,), f"{family.title} has no `{name}`", "remove it")
        if "tools" in own and any(item.kind != "text" for item in asked.items):
            told = "the tools are for a prompt of text alone"
            yield Refusal(("tools",), told, "remove them, or the images, videos and sounds")
        if TASK_TYPE not in family.lacks:
            yield from _refuse_task(own.get(TASK_TYPE, "auto"), asked)
        if asked.number("draft_task"):
            yield from _refuse_final(asked, family)

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """As every service's, without the fields that the model does not know and that ask for nothing."""
        family = load_catalogue(MODELS).find(str(request.get("model")))
        unknown = frozenset[str]() if family is None else _unknown(family)
        sent = {
            name: value
            for name, value in request.items()
            if name not in unknown or name not in _ASKS_NOTHING or value != _ASKS_NOTHING[name]
        }
        return super().encode(sent, added, media)


def _unknown(family: ModelFamily) -> frozenset[str]:
    """The fields that a family does not know."""
    knows = {
        "camera_fixed": family.camera_fixed is not FixedCamera.NONE,
        "generate_audio": family.audio,
        "draft": family.draft,
        "priority": family.priority,
        "service_tier": family.flex,
    }
    return family.lacks | {name for name, is_known in knows.items() if not is_known}


def _refuse_task(task_type: str, asked: Asked) -> Iterator[Refusal]:
    """The rules of 2.5 for what its references are for; under `auto` the service finds that out itself."""
    if task_type == "auto":
        return
    if asked.number("first_frame") or asked.number("last_frame"):
        told = f"`{task_type}` goes with references, not with first and last frames"
        yield Refusal((TASK_TYPE,), told, "remove it, or give every image `role: reference_image`")
    elif not asked.has_references:
        yield Refusal((TASK_TYPE,), f"`{task_type}` needs a reference", "add one, or remove it")
    if task_type == "reference":
        return
    if asked.has_references and not asked.number("reference_video"):
        yield Refusal((TASK_TYPE,), f"`{task_type}` needs a video", "add a video_url item")
    if asked.ratio not in (None, "adaptive"):
        told = f"`{task_type}` gives a video the ratio of its source"
        yield Refusal((asked.name("ratio"),), told, f"{asked.name('ratio')}: adaptive")
    if task_type == "edit" and asked.duration not in (None, -1):
        yield Refusal(("duration",), "an edit is as long as its source", "duration: -1")


def _refuse_final(asked: Asked, family: ModelFamily) -> Iterator[Refusal]:
    """A final says its size, and takes all else from its draft."""
    for item in asked.items:
        if item.kind != "draft_task":
            told = "a final is made of its draft alone, which holds prompt and media"
            yield Refusal(item.path[:-1], told, "remove it")
    if asked.number("draft_task") > 1:
        yield Refusal(asked.first("draft_task")[:-1], "a final has one draft", "keep one")
    for name in _OF_THE_DRAFT:
        if getattr(asked, name) is not None:
            yield Refusal((name,), f"a final takes `{name}` from its draft", "remove it")
    if asked.has_seed and family.honours_seed:
        yield Refusal(("seed",), "a final takes `seed` from its draft", "remove it, and `samples`")
    if asked.resolution is None and len(family.final_resolutions) == 1:
        (only,) = family.final_resolutions
        told = f"{family.title} makes finals at {only}, and its default is another size"
        yield Refusal((asked.dialect.items_field,), told, f"request: {{resolution: {only}}}")
