"""getimg's routes (wire/getimg.md): create, get and models, over the same tasks and renderer.

A request is kept as the Mesh request that asks for the same picture.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import plain_error
from runner.sandbox.faults import Kind, Struck, Where
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.models import find_family
from runner.sandbox.picture import FPS
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask
from runner.sandbox.validation import Refusal, VideoRequest, read_json, read_request

PATH = "/v2/videos/generations"
REFERENCE_MODEL = "seedance-v2-0"
"""In no document of the service: those that are take no reference_image here, and that is rehearsed too."""
MODELS = ("seedance-v1-5-pro", "seedance-v1-pro", REFERENCE_MODEL)
USD_PER_SECOND = 0.05
"""The unit price of the example in wire/getimg.md."""

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
    ]


class _Getimg(MeshRoutes):
    accepted_status = 202
    id_prefix = "req-"
    owner_prefix = "getimg:"

    def _takes_key(self, key: str) -> bool:
        """Any key: the wire document gives its keys no form."""
        return bool(key)

    def _error(self, status: int, code: str, message: str, **more: Any) -> Response:
        return plain_error(status, code, message, **more)

    def _too_large(self) -> Response:
        return self._error(400, "invalid_parameter", "the body is too large")

    def _read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        try:
            kept = mesh_body(read_json(body))
            return read_request(kept), kept
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            raise Refusal(400, "invalid_parameter", refusal.message) from refusal

    def _created(self, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "status": "pending"}

    def _shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        several = struck.of(Kind.SEVERAL)
        near = struck.of(Kind.DEADLINE)
        lifetime = near.seconds if near is not None else self._service.config.url_ttl
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
        service = self._state.service
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
            return [{"id": name, "name": name, "type": "video", "created_at": 0} for name in MODELS]

        self._state.stats.lists += 1
        return await self._read_only(request, Where.LIST, "", make)


def mesh_body(document: dict[str, Any]) -> bytes:
    """The body of the Mesh request for the same picture. Raises Refusal."""
    unknown = document.keys() - _KINDS.keys() - {"model", "prompt", "images"}
    if unknown:
        raise _invalid(min(unknown), "is no parameter")
    if document.get("model") not in MODELS:
        raise _invalid("model", "is unknown or no video model")
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _invalid("prompt", "must be text that is not empty")
    fields: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        if name not in document:
            continue
        if type(document[name]) is not kind:
            raise _invalid(name, f"must be of type {kind.__name__}")
        fields[_NAMES[name]] = document[name]
    family = find_family(document["model"])
    if family is not None and family.audio:
        fields.setdefault("generate_audio", False)
    content = [{"type": "text", "text": prompt}, *_items(document.get("images", []))]
    return json.dumps({"model": document["model"], "content": content, **fields}).encode()


def _items(images: object) -> list[dict[str, Any]]:
    if not isinstance(images, list):
        raise _invalid("images", "must be a list")
    items = []
    for image in images:
        url, role = (image.get("url"), image.get("role")) if isinstance(image, dict) else (None, None)
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise _invalid("images", "each needs a url that is publicly accessible")
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
