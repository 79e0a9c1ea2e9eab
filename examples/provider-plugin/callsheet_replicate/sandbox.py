"""Replicate's side of a rehearsal: its calls, over the sandbox's tasks, faults and pictures.

A prediction is kept as the Mesh request for the same picture, which the sandbox can draw, beside its input.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer
from runner.sandbox.faults import NOTHING, Kind, Struck, Where
from runner.sandbox.forms import read_form
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask, Selection
from runner.sandbox.validation import Refusal, VideoRequest, read_json, read_request
from runner.sandbox.webhooks import Voice

STATUSES = {
    "queued": "starting",
    "running": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
    "expired": "aborted",
}
TITLES = {
    "unauthorized": "Unauthenticated",
    "not_found": "Not found",
    "rate_limit_exceeded": "Too Many Requests",
    "spend_limit_exceeded": "Payment Required",
    "validation_error": "Input validation failed",
}
RESOLUTIONS = {
    "bytedance/seedance-2.5": ("480p", "720p"),
    "bytedance/seedance-2.0": ("480p", "720p", "1080p", "4k"),
    "bytedance/seedance-2.0-fast": ("480p", "720p"),
}
INPUTS = {
    **dict.fromkeys(("prompt", "image", "last_frame_image", "resolution", "aspect_ratio"), "string"),
    **dict.fromkeys(("reference_images", "reference_videos", "reference_audios"), "array"),
    **dict.fromkeys(("duration", "seed"), "integer"),
    "generate_audio": "boolean",
}
ONLY_2_5 = {"output_format": "string", "watermark": "boolean"}
NAMES = {"aspect_ratio": "ratio", "watermark": "watermark"} | {
    name: name for name in ("duration", "resolution", "generate_audio", "seed")
}
TOP_LEVEL = {"input", "version", "webhook", "webhook_events_filter", "stream"}
CALLED = frozenset({"succeeded", "failed", "cancelled", "expired"})
"""Ends that are told."""
PAGE = 100
ID_PREFIX = "rp"
DATA_LIFE = 3600.0
"""Seconds after its end that a prediction keeps input and output."""
MOST_FILE = 100_000_000
_UNITS = {"h": 3600, "m": 60, "s": 1, "": 1}


@dataclass(frozen=True, slots=True)
class KeptFile:
    document: dict[str, Any]
    owner: str
    content: bytes = field(repr=False)


def replicate_routes(state: State) -> list[Route]:
    files: dict[str, KeptFile] = {}

    def calling(name: str) -> Any:
        async def call(request: Request) -> Response:
            made: Response = await getattr(ReplicateRoutes(state, files, request), name)(request)
            return made

        return call

    own = ReplicateRoutes(state, files)
    state.webhooks.voices[ID_PREFIX] = Voice(own.view, CALLED, seal=own.seal)
    at = "/v1/predictions"
    return [
        Route(at, calling("create_or_list"), methods=["GET", "POST"]),
        Route("/v1/models/{owner}/{name}/predictions", calling("create"), methods=["POST"]),
        Route("/v1/models/{owner}/{name}", calling("model"), methods=["GET"]),
        Route(at + "/{task_id}", calling("get"), methods=["GET"]),
        Route(at + "/{task_id}/cancel", calling("cancel"), methods=["POST"]),
        Route("/v1/files", calling("upload"), methods=["POST"]),
        Route("/v1/files/{file_id}", calling("file"), methods=["GET", "DELETE"]),
        Route("/v1/files/{file_id}/download", calling("download"), methods=["GET"]),
        Route("/v1/webhooks/default/secret", calling("secret"), methods=["GET"]),
    ]


class ReplicateRoutes(MeshRoutes):
    """For one request, whose path and headers say what its body does not."""

    accepted_status = 201
    owner_prefix = "replicate:"

    def __init__(self, state: State, files: dict[str, KeptFile], request: Request | None = None) -> None:
        super().__init__(state)
        self._files = files
        self._request = request

    def new_prefix(self) -> str:
        return ID_PREFIX

    def takes_key(self, key: str) -> bool:
        return bool(key)

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        wait = more.get("retry_after")
        if wait is not None:
            message = f"Request was throttled. Your rate limit resets in ~{round(wait + 0.5)}s."
        problem = {
            "type": "about:blank",
            "title": TITLES.get(code, code),
            "status": status,
            "detail": message,
        }
        return answer(problem, status, more.get("headers"))

    def too_large(self) -> Response:
        return self.error(413, "Payload Too Large", "the body is too large")

    async def create(self, request: Request) -> Response:
        made = await super().create(request)
        held = re.fullmatch(r"wait(?:=(\d+))?", request.headers.get("prefer", ""))
        if held is None or made.status_code != self.accepted_status:
            return made
        task = self.service.store.find(json.loads(bytes(made.body))["id"])
        assert task is not None
        left = task.finished_at - self.state.now()
        await asyncio.sleep(max(0.0, min(left, float(held[1] or 60))))
        told = self.shown(self.service.refresh(task), NOTHING)
        return answer(told, 202 if told["completed_at"] is None else 201)

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        asked = read_json(body)
        unknown = asked.keys() - TOP_LEVEL
        if unknown:
            raise Refusal(422, "validation_error", f"Additional property {min(unknown)} is not allowed")
        given = asked.get("input")
        if not isinstance(given, dict):
            raise Refusal(422, "validation_error", "input is required")
        model, version = self._wanted(asked)
        fields = self._checked(model, given)
        seconds = _seconds(self._request.headers.get("cancel-after")) if self._request else None
        calls = "completed" in asked.get("webhook_events_filter", ["completed"])
        kept = {
            "model": model,
            "content": self._content(given, owner),
            **{NAMES[name]: value for name, value in fields.items() if name in NAMES},
            "callback_url": asked.get("webhook") if calls else None,
            "execution_expires_after": min(max(seconds or 172_800, 3600), 259_200),
            "prediction": {"input": given, "version": version, "cancel_after": seconds},
        }
        encoded = json.dumps(kept).encode()
        return read_request(encoded), encoded

    def _wanted(self, asked: dict[str, Any]) -> tuple[str, str]:
        """(owner/name, version)."""
        path = self._request.path_params if self._request else {}
        if "owner" in path:
            return f"{path['owner']}/{path['name']}", "hidden"
        model, _, version = str(asked.get("version", "")).partition(":")
        if "/" not in model:
            raise Refusal(422, "Invalid version or not permitted", "The specified version does not exist")
        return model, version or "hidden"

    def _checked(self, model: str, given: dict[str, Any]) -> dict[str, Any]:
        """The plain inputs, as Mesh has them. Raises Refusal."""
        fields = dict(given)
        if model in RESOLUTIONS:
            taken = INPUTS if model != "bytedance/seedance-2.5" else INPUTS | ONLY_2_5
            unknown = given.keys() - taken.keys()
            if unknown:
                told = f"- input: Additional property {min(unknown)} is not allowed"
                raise Refusal(422, "validation_error", told)
            if given.get("resolution", "720p") not in RESOLUTIONS[model]:
                raise Refusal(422, "validation_error", f"- input.resolution: {given['resolution']}")
        if fields.get("aspect_ratio") == "9:21":
            fields["aspect_ratio"] = "9:16"  # the nearest that can be drawn
        return fields

    def _content(self, given: dict[str, Any], owner: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = [{"type": "text", "text": str(given.get("prompt") or "no prompt")}]
        single = (("image", "first_frame"), ("last_frame_image", "last_frame"))
        found = [("image_url", role, given[name]) for name, role in single if name in given]
        for kind in ("image", "video", "audio"):
            several = given.get(f"reference_{kind}s", [])
            found += [(f"{kind}_url", f"reference_{kind}", url) for url in several]
        for kind, role, url in found:
            items.append({"type": kind, "role": role, kind: {"url": self._resolved(url, owner)}})
        return items

    def _resolved(self, url: object, owner: str) -> object:
        """An upload of the same key as a data URI; any other address as it is."""
        kept = self._files.get(str(url).rpartition("/")[2])
        if kept is None or kept.owner != owner or str(url) != kept.document["urls"]["get"]:
            return url
        return f"data:{kept.document['content_type']};base64,{base64.b64encode(kept.content).decode()}"

    def created(self, document: dict[str, Any]) -> dict[str, Any]:
        task = self.service.store.find(str(document.get("id")))
        return {"status": "starting", **document} if task is None else self.shown(task, NOTHING)

    def shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        document = self.view(task)
        for fault in struck.faults:
            match fault.kind:
                case Kind.REGRESS if document["completed_at"] is not None:
                    document |= {"status": "processing", "output": None, "completed_at": None}
                case Kind.NULL_ECHOES:
                    document |= {"input": {}, "data_removed": True}
                case Kind.SUFFIX:
                    document["model"] += fault.text
                case Kind.FIELDS:
                    document |= fault.fields
        return document

    def prediction(self, task: AcceptedTask, view: dict[str, Any]) -> dict[str, Any]:
        """The prediction for what Mesh would tell of the task."""
        asked = task.request["prediction"]
        has_begun = view["status"] not in ("queued", "expired")
        has_ended = view["status"] not in ("queued", "running")
        is_removed = has_ended and self.state.now() > task.finished_at + DATA_LIFE
        content, failed = view["content"] or {}, view["error"]
        told = f"{failed['code']}: {failed['message']}" if failed and view["status"] == "failed" else None
        seconds = task.finished_at - task.running_at
        after, url = asked["cancel_after"], f"{self.service.base_url}/v1/predictions/{task.id}"
        return {
            "id": task.id,
            "model": task.model,
            "version": asked["version"],
            "status": STATUSES[view["status"]],
            "input": {} if is_removed else asked["input"],
            "output": None if is_removed else content.get("video_url"),
            "error": told,
            "logs": "",
            "source": "api",
            "created_at": _iso(task.created_at),
            "started_at": _iso(task.running_at) if has_begun else None,
            "completed_at": _iso(task.finished_at) if has_ended else None,
            "deadline": None if after is None else _iso(task.created_at + after),
            "data_removed": is_removed,
            "metrics": {"predict_time": seconds, "total_time": seconds} if has_ended else {},
            "urls": {"get": url, "cancel": f"{url}/cancel", "web": url, "stream": url},
        }

    def read_query(self, request: Request) -> tuple[Selection, int, int]:
        query = dict(request.query_params)
        offset = 0
        if "cursor" in query:
            try:
                offset, query = json.loads(base64.urlsafe_b64decode(query["cursor"]))
            except ValueError as problem:
                raise Refusal(400, "Bad Request", "Invalid cursor") from problem
        times = {name: _moment(query[name]) for name in ("created_after", "created_before") if name in query}
        after, before = times.get("created_after"), times.get("created_before")
        # the sandbox's times are whole seconds: what is made in the one that was named is shown
        after = None if after is None else math.floor(after)
        # later pages show what was there at the first one
        newest = float(query.get("newest", self.state.now()))
        return Selection(after=after, before=before, created_before=newest), PAGE, offset

    def listed(self, page: dict[str, Any], selection: Selection) -> dict[str, Any]:
        bounds = {"created_after": selection.after, "created_before": selection.before}
        query = {name: _iso(at) for name, at in bounds.items() if at is not None}
        start = page["offset"] + len(page["data"])
        cursor = [start, {**query, "newest": selection.created_before}]
        text = base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()
        following = f"{self.service.base_url}/v1/predictions?cursor={text}" if page["has_more"] else None
        return {"next": following, "previous": None, "results": page["data"]}

    async def cancel(self, request: Request) -> Response:
        task_id = request.path_params["task_id"]

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            task = self.service.find(task_id, owner)
            if task is None:
                raise Refusal(404, "not_found", f"no prediction {task_id}")
            is_waiting = task.status_at(self.state.now()) == "queued"
            return self.shown(self.service.end(task, "expired" if is_waiting else "cancelled"), struck)

        return await self.read_only(request, Where.GET, task_id, make)

    async def model(self, request: Request) -> Response:
        owner, name = request.path_params["owner"], request.path_params["name"]

        def make(_owner: str, _struck: Struck) -> dict[str, Any]:
            if f"{owner}/{name}" not in RESOLUTIONS:
                raise Refusal(404, "not_found", f"no model {owner}/{name}")
            taken = INPUTS | (ONLY_2_5 if name == "seedance-2.5" else {})
            schema = {"type": "object", "properties": {each: {"type": kind} for each, kind in taken.items()}}
            return {
                "owner": owner,
                "name": name,
                "latest_version": {"openapi_schema": {"components": {"schemas": {"Input": schema}}}},
            }

        return await self.read_only(request, Where.LIST, "", make)

    async def upload(self, request: Request) -> Response:
        body = await request.body()

        def make(owner: str, _struck: Struck) -> dict[str, Any]:
            found = read_form(body).get("content")
            if found is None:
                raise Refusal(400, "Bad Request", "Missing content")
            content = found.content
            if len(content) >= MOST_FILE:
                raise Refusal(413, "Payload Too Large", "Files are smaller than 100 MB")
            file_id, now = secrets.token_urlsafe(24), self.state.now()
            document = {
                "id": file_id,
                "name": found.filename or "file",
                "content_type": found.content_type,
                "size": len(content),
                "etag": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "checksums": {"sha256": hashlib.sha256(content).hexdigest()},
                "metadata": {},
                "created_at": _iso(now),
                "expires_at": _iso(now + 86_400),
                "urls": {"get": f"{self.service.base_url}/v1/files/{file_id}"},
            }
            self._files[file_id] = KeptFile(document, owner, content)
            return document

        made = await self.read_only(request, Where.GET, "", make)
        made.status_code = 201 if made.status_code == 200 else made.status_code
        return made

    async def file(self, request: Request) -> Response:
        def make(owner: str, _struck: Struck) -> dict[str, Any]:
            kept = self._files.get(request.path_params["file_id"])
            if kept is None or kept.owner != owner:
                raise Refusal(404, "not_found", "no such file")
            if request.method == "DELETE":
                del self._files[request.path_params["file_id"]]
            return kept.document

        made = await self.read_only(request, Where.GET, "", make)
        is_deleted = request.method == "DELETE" and made.status_code == 200
        return Response(status_code=204) if is_deleted else made

    async def download(self, request: Request) -> Response:
        """The bytes of a file, for the key that it belongs to."""
        made = await self.file(request)
        if made.status_code != 200:
            return made
        kept = self._files[request.path_params["file_id"]]
        return Response(kept.content, media_type=kept.document["content_type"])

    async def secret(self, request: Request) -> Response:
        return await self.read_only(
            request, Where.GET, "", lambda _owner, _struck: {"key": f"whsec_{self._signing_key()}"}
        )

    def _signing_key(self) -> str:
        return base64.b64encode(self.service.store.secret("replicate")).decode()

    def view(self, task: AcceptedTask) -> dict[str, Any]:
        return self.prediction(task, self.service.view(task))

    def seal(self, _: AcceptedTask, document: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        """A call as Standard Webhooks signs it."""
        body = json.dumps(document).encode()
        call_id, sent_at = f"msg_{secrets.token_hex(8)}", str(int(self.state.now()))
        secret = base64.b64decode(self._signing_key())
        digest = hmac.digest(secret, f"{call_id}.{sent_at}.".encode() + body, hashlib.sha256)
        return body, {
            "webhook-id": call_id,
            "webhook-timestamp": sent_at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


def _seconds(text: str | None) -> int | None:
    """Of a Cancel-After such as 2h30m. Raises Refusal."""
    if text is None:
        return None
    parts = re.findall(r"(\d+)([hms]?)", text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or seconds < 5:
        raise Refusal(400, "Bad Request", "Cancel-After: must be a duration of 5 seconds or more")
    return seconds


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        raise Refusal(400, "Bad Request", f"not an ISO 8601 time: {text}") from problem
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
