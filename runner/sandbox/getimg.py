"""getimg's routes (wire/getimg.md): create, get, models and billing, over the same tasks and renderer.

A request is kept as the Mesh request that asks for the same picture.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import plain_error
from runner.sandbox.faults import Kind, Struck, Where
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.models import RATIOS, find_family
from runner.sandbox.results.picture import FPS
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask
from runner.sandbox.validation import Refusal, VideoRequest, read_json, read_request

PATH = "/v2/videos/generations"
REFERENCE_MODEL = "seedance-v2-0"
"""In no document of the service: those that are take no reference_image here, and that is rehearsed too."""
MODELS = ("seedance-v1-pro", REFERENCE_MODEL)
"""Those that are listed; any other is made too."""
USD_PER_SECOND = 0.05
"""The unit price of the example in wire/getimg.md."""
FIRST_BALANCE = 100.0
"""Dollars of each key; what it makes is taken off, and never refused."""
MOST_DAYS = 180
"""Of one question for costs."""
MOST_PROMPT = 4096
MOST_IMAGES = 8
MOST_IMAGE = 10 * 2**20
"""Bytes of one image, decoded."""
MOST_BODY = 25 * 2**20

_FORMS = {
    "aspect_ratio": re.compile(r"[0-9]+:[0-9]+"),
    "resolution": re.compile(r"[0-9]+[pk]"),
    "duration": re.compile(r"[1-9][0-9]*"),
}
_ANYTHING = re.compile(".*")
_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)

_FRAMES = frozenset({"first_frame", "last_frame"})
_ROLES = _FRAMES | {"reference_image"}
_NAMES = {
    "aspect_ratio": "ratio",
    "resolution": "resolution",
    "duration": "duration",
    "sound": "generate_audio",
}
_FACTS = ("width", "height", "duration", "fps", "has_sound")
_KINDS: dict[str, type] = {"aspect_ratio": str, "resolution": str, "duration": int, "sound": bool}


def getimg_routes(state: State) -> list[Route]:
    getimg = _Getimg(state)
    return [
        Route(PATH, getimg.create, methods=["POST"]),
        Route(PATH + "/{task_id}", getimg.get, methods=["GET"]),
        Route("/v2/models", getimg.models, methods=["GET"]),
        Route("/v2/models/{model}", getimg.model, methods=["GET"]),
        Route("/v2/billing/balance", getimg.balance, methods=["GET"]),
        Route("/v2/billing/costs", getimg.costs, methods=["GET"]),
    ]


class _Getimg(MeshRoutes):
    accepted_status = 202
    owner_prefix = "getimg:"

    def new_prefix(self) -> str:
        return "req-"

    def takes_key(self, key: str) -> bool:
        """Any key: the wire document gives its keys no form."""
        return bool(key)

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        return plain_error(status, code, message, **more)

    def too_large(self) -> Response:
        return self.error(400, "invalid_parameter", "the body is too large")

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        if len(body) > MOST_BODY:
            raise _invalid("body", f"is larger than {MOST_BODY // 2**20} MiB")
        try:
            kept = mesh_body(read_json(body))
            return read_request(kept), kept
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            raise Refusal(400, "invalid_parameter", refusal.message) from refusal

    def created(self, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "status": "pending"}

    def shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        several = struck.of(Kind.SEVERAL)
        near = struck.of(Kind.DEADLINE)
        lifetime = near.seconds if near is not None else self.service.config.url_ttl
        document = self._view(task, several.count if several is not None else 1, lifetime)
        for fault in struck.faults:
            match fault.kind:
                case Kind.REGRESS:
                    document = {"id": task.id, "status": "pending"}
                case Kind.NULL_ECHOES:
                    for item in document.get("data", ()):
                        item.update(dict.fromkeys(_FACTS))
                case Kind.SUFFIX if "model" in document:
                    document["model"] += fault.text
                case Kind.FIELDS:
                    document.update(fault.fields)
        return document

    def _view(self, task: AcceptedTask, results: int, lifetime: float) -> dict[str, Any]:
        if task.shown_status in ("queued", "running"):
            return {"id": task.id, "status": "pending"}
        if task.shown_status != "succeeded":
            error = {"code": task.error_code, "message": task.error_message}
            return {"id": task.id, "status": "failed", "error": error}
        request = read_request(task.body)
        width, height = request.size
        seconds = request.frame_count // FPS
        now = time.time()
        service = self.state.service
        deadline = datetime.fromtimestamp(now + lifetime, UTC)
        return {
            "id": task.id,
            "status": "completed",
            "model": task.model,
            "data": [
                {
                    "url": f"{service.base_url}/v2/downloads/{task.id}/{number}?"
                    + service.signer.query(task.id, str(number), now),
                    "width": width,
                    "height": height,
                    "duration": seconds,
                    "fps": FPS,
                    "has_sound": request.generate_audio,
                    "mime_type": "video/mp4",
                    "deletes_at": deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                }
                for number in range(results)
            ],
            "usage": {
                "total_cost": round(results * seconds * USD_PER_SECOND, 6),
                "billable_unit": "video_second",
                "unit_price": USD_PER_SECOND,
                "quantity": results * seconds,
            },
        }

    async def models(self, request: Request) -> Response:
        """The models, all of them of type video."""
        wanted = request.query_params.getlist("type") or ["video"]

        def make(_owner: str, _struck: Struck) -> list[dict[str, Any]]:
            if not set(wanted) <= {"image", "video"}:
                raise _invalid("type", "must be image or video")
            if "video" not in wanted:
                return []
            return [_model(name) for name in MODELS]

        self.state.stats.lists += 1
        return await self.read_only(request, Where.LIST, "", make)

    async def model(self, request: Request) -> Response:
        """One of the models."""
        name = request.path_params["model"]

        def make(_owner: str, _struck: Struck) -> dict[str, Any]:
            if name not in MODELS:
                raise Refusal(404, "not_found", f"no model {name}")
            return _model(name)

        self.state.stats.lists += 1
        return await self.read_only(request, Where.LIST, "", make)

    async def balance(self, request: Request) -> Response:
        """What is left of the first dollars of each key."""

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            spent = sum(_cost(task) for task in self._ended(owner))
            document = {"balance": f"{FIRST_BALANCE - spent:.2f}", "currency": "USD"}
            return _with_faults(document, struck)

        return await self.read_only(request, Where.LIST, "", make)

    async def costs(self, request: Request) -> Response:
        """What was charged from one moment to another, by the day of UTC on which it ended."""
        said = request.query_params

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            start, end = (_read_moment(name, said.get(name, "")) for name in ("start", "end"))
            if not start < end <= start + timedelta(days=MOST_DAYS):
                raise _invalid("end", f"must fall after start, at most {MOST_DAYS} days")
            days = {(start + timedelta(days=number)).date() for number in range((end - start).days + 1)}
            found = dict.fromkeys(sorted(days | {end.date()}), 0.0)
            for task in self._ended(owner):
                at = datetime.fromtimestamp(task.finished_at, UTC)
                if start <= at <= end:
                    found[at.date()] += _cost(task)
            document = {
                "currency": "USD",
                "start": start.isoformat(),
                "end": end.isoformat(),
                "data": [{"date": str(day), "cost": round(cost, 6)} for day, cost in found.items()],
                "total_cost": round(sum(found.values()), 6),
            }
            return _with_faults(document, struck)

        return await self.read_only(request, Where.LIST, "", make)

    def _ended(self, owner: str) -> list[AcceptedTask]:
        """The tasks of a key that made a video."""
        now = self.state.now()
        tasks = (task for task in self.service.store.all() if task.owner == owner)
        return [task for task in tasks if task.status_at(now) == "succeeded"]


def _cost(task: AcceptedTask) -> float:
    return read_request(task.body).frame_count // FPS * USD_PER_SECOND


def _with_faults(document: dict[str, Any], struck: Struck) -> dict[str, Any]:
    fields = struck.of(Kind.FIELDS)
    return document if fields is None else {**document, **fields.fields}


def _read_moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(name, "must be an ISO 8601 time") from None
    if moment.tzinfo is None:
        raise _invalid(name, "must have a time zone")
    return moment.astimezone(UTC)


def _model(name: str) -> dict[str, Any]:
    """A model with its price and what it takes; the first of each list is the default."""
    family = find_family(name)
    assert family is not None
    first, last = family.durations
    rates = [
        {
            "billable_unit": "video_second",
            "resolution": None,
            "sound": "not_applicable",
            "unit_price": str(USD_PER_SECOND),
        }
    ]
    roles = {
        "first_frame": int(family.first_frame),
        "last_frame": int(family.last_frame),
        "reference_image": min(family.reference_images, MOST_IMAGES),
    }
    return {
        "id": name,
        "name": name,
        "type": "video",
        "created_at": 0,
        "pricing": {"currency": "USD", "rates": rates},
        "supported_aspect_ratios": list(RATIOS),
        "supported_resolutions": ["720p", *(each for each in family.resolutions if each != "720p")],
        "supported_durations": sorted(range(first, last + 1), key=lambda seconds: seconds != 5),
        "supported_references": {role: most for role, most in roles.items() if most},
        "supports_sound": family.audio,
    }


def mesh_body(document: dict[str, Any]) -> bytes:
    """The body of the Mesh request for the same picture. Raises Refusal."""
    unknown = document.keys() - _KINDS.keys() - {"model", "prompt", "images"}
    if unknown:
        raise _invalid(min(unknown), "is no parameter")
    model, prompt = document.get("model"), document.get("prompt")
    if not isinstance(model, str):
        raise _invalid("model", "must be the id of a model")
    if not isinstance(prompt, str) or not 1 <= len(prompt) <= MOST_PROMPT:
        raise _invalid("prompt", f"must be text of 1 to {MOST_PROMPT} characters")
    fields: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        if name not in document:
            continue
        if type(document[name]) is not kind:
            raise _invalid(name, f"must be of type {kind.__name__}")
        if not _FORMS.get(name, _ANYTHING).fullmatch(str(document[name])):
            raise _invalid(name, "has another form")
        fields[_NAMES[name]] = document[name]
    family = find_family(model)
    if family is None or family.audio:
        fields.setdefault("generate_audio", False)
    content = [{"type": "text", "text": prompt}, *_items(document.get("images", []))]
    return json.dumps({"model": model, "content": content, **fields}).encode()


def _items(images: object) -> list[dict[str, Any]]:
    if not isinstance(images, list) or len(images) > MOST_IMAGES:
        raise _invalid("images", f"must be a list of at most {MOST_IMAGES}")
    items = []
    for image in images:
        url, role = (image.get("url"), image.get("role")) if isinstance(image, dict) else (None, None)
        if not isinstance(url, str) or not (url.startswith(("http://", "https://")) or _DATA_URI.match(url)):
            raise _invalid("images", "each needs a url: a public one, or a data URI of a png, jpeg or webp")
        if _DATA_URI.match(url) and len(url) * 3 // 4 > MOST_IMAGE + 64:
            raise _invalid("images", f"larger than {MOST_IMAGE // 2**20} MiB")
        if not isinstance(role, str) or role not in _ROLES:
            raise _invalid("images", f"role must be one of {', '.join(sorted(_ROLES))}")
        items.append({"type": "image_url", "image_url": {"url": url}, "role": role})
    roles = {item["role"] for item in items}
    if "last_frame" in roles and "first_frame" not in roles:
        raise _invalid("images", "a last_frame needs a first_frame")
    if "reference_image" in roles and roles & _FRAMES:
        raise _invalid("images", "reference_image cannot be combined with first_frame or last_frame")
    return items


def _invalid(name: str, message: str) -> Refusal:
    return Refusal(400, "invalid_parameter", f"{name}: {message}")
