"""A prediction of Replicate: one flat input, in which each kind of file has a field of its own.

In the request all fields stand side by side. `encode` puts those of the model below `input`, and the model
into the path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from runner.json_value import JsonValue
from runner.providers.base import Body, InputFile
from runner.providers.dialect import (
    Asked,
    CannotSayError,
    Content,
    ContentFacts,
    Dialect,
    Item,
    MediaUrl,
    Refusal,
    Request,
    RequestPath,
)

PLAIN: Final = (
    "prompt",
    "duration",
    "resolution",
    "aspect_ratio",
    "generate_audio",
    "seed",
    "output_format",
    "watermark",
)
"""The inputs that come back as they were sent."""

CANCEL_AFTER: Final = "2h30m"
"""When the service gives up a prediction that we may have lost. One that begins within two hours has the
whole 30 minutes that a prediction may run; one that has not begun by then ends free."""

EVENTS: Final[tuple[JsonValue, ...]] = ("completed",)
"""Calls that are worth a look; by itself the service calls for each line of the log."""

_ONE: Final = {"first_frame": "image", "last_frame": "last_frame_image"}
_SEVERAL: Final = {
    "reference_image": "reference_images",
    "reference_video": "reference_videos",
    "reference_audio": "reference_audios",
}
_KINDS: Final = {"reference_videos": "video_url", "reference_audios": "audio_url"}
_DEFAULT_ROLES: Final = {"video_url": "reference_video", "audio_url": "reference_audio"}
_ONLY_NEWEST: Final = frozenset({"output_format", "watermark"})


class ReplicateDialect(Dialect):
    def lacks(self, model: str) -> frozenset[str]:
        """Seedance 2.0 refuses inputs that it does not know; of other models nothing is known."""
        return _ONLY_NEWEST if "seedance-2.0" in model else frozenset()

    def request(self, fields: Request, content: Content) -> Request:
        request, facts = dict(fields), list[ContentFacts]()
        for item in content:
            kind = str(item.get("type"))
            role = str(item.get("role") or _DEFAULT_ROLES.get(kind, "first_frame"))
            facts.append(ContentFacts(kind, role, is_reference=False))
            payload = item.get(kind)
            if kind == "text":
                request["prompt"] = payload
            elif isinstance(payload, dict) and role in _ONE:
                request[_ONE[role]] = payload["url"]
            elif isinstance(payload, dict) and role in _SEVERAL:
                several = request.setdefault(_SEVERAL[role], [])
                assert isinstance(several, list)
                several.append(payload["url"])
        for refusal in _refuse_roles(facts):
            raise CannotSayError(refusal)
        return request

    def asked(self, request: Mapping[str, JsonValue]) -> Asked:
        items = tuple(Item((*path[:-1], "role"), str(path[-1]), role) for role, path, _ in _media(request))
        asked = super().asked(request)
        # 720p of every model that is known here
        return asked._replace(items=items, resolution=asked.resolution or "720p")

    def urls(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        yield from ((path, url) for _, path, url in _media(request))

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        texts = [number for number, item in enumerate(items) if item.kind == "text"]
        for number in texts[1:]:
            yield Refusal(("content", number), "replicate takes one text, as its prompt", "join the texts")
        yield from _refuse_roles(items)
        for number, item in enumerate(items):
            if item.is_reference or item.kind == "draft_task":
                told = "replicate makes no last frame and no draft that a step could begin with"
                yield Refusal(("content", number, item.kind), told, "remove it, or use provider: mesh")

    def refuse_file(self, file: InputFile) -> tuple[str, str] | None:
        if file.media_type.startswith(("image/", "video/", "audio/")):
            return None
        return f"replicate takes images, videos and sounds; this is {file.media_type}", "remove it"

    def encode(
        self, request: Mapping[str, JsonValue], added: Mapping[str, JsonValue], media: MediaUrl
    ) -> Body:
        """The POST of a prediction. `Prefer` is never sent: a held answer is a long time for a cut."""
        given = {**added, **{name: value for name, value in request.items() if value is not None}}
        given = self.with_media(given, media)
        model = str(given.pop("model"))
        cancel_after = str(given.pop("cancel_after", CANCEL_AFTER))
        webhook, events = given.pop("webhook", None), given.pop("webhook_events_filter", EVENTS)
        sent: Request = {"input": given}
        if webhook is not None:
            sent |= {"webhook": webhook, "webhook_events_filter": events}
        owner, slash, name = model.partition("/")
        if slash and ":" not in name:
            path = f"/models/{quote(owner, safe='')}/{quote(name, safe='')}/predictions"
        else:
            path = "/predictions"
            sent["version"] = model
        content = json.dumps(sent, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        return Body(path, content, headers=(("Cancel-After", cancel_after),))

    def with_media(self, request: Request, media: MediaUrl) -> Request:
        sent = dict(request)
        for name in _ONE.values():
            if name in sent:
                sent[name] = media(sent[name])
        for name in _SEVERAL.values():
            several = sent.get(name)
            if isinstance(several, (list, tuple)):
                sent[name] = [media(url) for url in several]
        return sent


def _media(request: Mapping[str, JsonValue]) -> Iterator[tuple[str, RequestPath, str]]:
    """(role, place, URL) of each file; the place ends with the kind of its item."""
    for number, (role, name) in enumerate(_ONE.items()):
        url = request.get(name)
        if isinstance(url, str):
            # among the images of the job file the last frame is the second
            yield role, (name, number, "image_url"), url
    for role, name in _SEVERAL.items():
        several = request.get(name)
        for number, url in enumerate(several if isinstance(several, (list, tuple)) else ()):
            if isinstance(url, str):
                yield role, (name, number, _KINDS.get(name, "image_url")), url


def _refuse_roles(items: Sequence[ContentFacts]) -> Iterator[Refusal]:
    """The files that are not taken beside the others; none while an expression decides over a role."""
    media = [
        (number, item.role or _DEFAULT_ROLES.get(item.kind, ""))
        for number, item in enumerate(items)
        if item.kind in ("image_url", "video_url", "audio_url")
    ]
    if any(item.role is None for item in items if item.kind == "image_url"):
        return
    roles = [role for _, role in media]
    for number, role in media:
        where = ("content", number, "role")
        if role in _ONE and roles.count(role) > 1:
            yield Refusal(where, f"replicate takes one {role}", "role: reference_image")
        elif role == "last_frame" and "first_frame" not in roles:
            yield Refusal(
                where, "replicate takes a last_frame only with a first_frame", "add the first frame"
            )
        elif role in _SEVERAL and any(each in _ONE for each in roles):
            told = f"replicate takes no {role} beside a first_frame or a last_frame"
            yield Refusal(where, told, "keep the frames, or give every image `role: reference_image`")
