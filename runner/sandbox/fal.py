"""fal's side (wire/fal.md): the queue, whose paths are models, the history, prices, uploads and signed calls.

A request is kept as the Mesh request that asks for the same picture, with its own input beside it. Little of
it is checked at the door: what is wrong with an input shows in the result.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import random
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from runner.sandbox.answers import answer, encode, injected
from runner.sandbox.connection import Connection
from runner.sandbox.faults import Kind, Struck, Where
from runner.sandbox.mesh import GONE, MeshRoutes
from runner.sandbox.service import owner_of
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask, Selection
from runner.sandbox.validation import Refusal, VideoRequest, read_request
from runner.sandbox.webhooks import Sealed, Voice

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ID_PREFIX: Final = "fa1-"
HISTORY = "/v1/models/requests/by-endpoint"
PRICES = "/v1/models/pricing"
BILLING = "/v1/account/billing"
MOST_UPLOAD = 100_000_000
"""Bytes; above, the official client sends parts."""
PAYLOADS_LIFE = 30 * 86_400.0
NAMESPACES = ("workflows", "comfy")

_STATUSES = {"queued": "IN_QUEUE", "running": "IN_PROGRESS"}
_RESULTS: Final[Mapping[str, int]] = {
    "internal_server_error": 500,
    "downstream_service_error": 500,
    "runner_scheduling_failure": 503,
    "runner_disconnected": 503,
    "request_timeout": 504,
    "startup_timeout": 504,
    "generation_timeout": 504,
    "bad_request": 400,
}
"""The status of a result by the type of its error; any other is a 422 of the model."""
_CODES = {
    "unauthorized": (401, "authorization_error"),
    "rate_limit_exceeded": (429, "concurrent_requests_limit"),
    "spend_limit_exceeded": (403, "user_locked"),
    "internal_error": (500, "internal_server_error"),
}
_LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance"
_VERSION = re.compile(r"seedance[-/]v?(\d)(?:\.(\d))?(?:/(fast|mini|pro(?:/fast)?|lite))?")
_USD_PER_SECOND = {"2-5": 0.473, "2-0": 0.3034, "2-0-mini": 0.1547}
_LISTS = {"image_urls": "image_url", "video_urls": "video_url", "audio_urls": "audio_url"}
_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "prompt": ("string_type", lambda value: isinstance(value, str) and bool(value)),
    "resolution": ("literal_error", lambda value: value in ("480p", "720p", "1080p", "4k")),
    "duration": (
        "literal_error",
        lambda value: isinstance(value, str) and re.fullmatch("auto|[1-9][0-9]?", value) is not None,
    ),
    "aspect_ratio": (
        "literal_error",
        lambda value: value in ("auto", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"),
    ),
    "generate_audio": ("bool_type", lambda value: isinstance(value, bool)),
    "seed": ("int_type", lambda value: isinstance(value, int) and not isinstance(value, bool)),
}


def fal_routes(state: State) -> list[Route]:
    """Those whose paths are the same for every model: of the other hosts."""
    fal = _fal(state)
    return [
        Route(HISTORY, fal.history, methods=["GET"]),
        Route(PRICES, fal.prices, methods=["GET"]),
        Route(BILLING, fal.billing, methods=["GET"]),
        Route("/.well-known/jwks.json", fal.keys, methods=["GET"]),
        Route("/storage/auth/token", fal.token, methods=["POST"]),
        Route("/storage/upload/initiate", fal.initiate, methods=["POST"]),
        Route("/storage/put/{name}", fal.put, methods=["PUT"]),
        Route("/files/upload", fal.upload, methods=["POST"]),
        Route("/storage/kept/{name}", fal.kept, methods=["GET"]),
    ]


def queue_routes(state: State, others: Collection[str]) -> list[Route]:
    """Those of the queue, which are last: no model begins with one of the words `others`."""
    fal = _fal(state)
    request = "/{owner}/{app}/requests/{task_id}"
    own = [
        _QueueRoute("/{model:path}", fal.submit, methods=["POST"]),
    ]
    for prefix in ("", *(f"/{name}" for name in NAMESPACES)):
        own += [
            _QueueRoute(f"{prefix}{request}/status", fal.status, methods=["GET"]),
            _QueueRoute(f"{prefix}{request}/cancel", fal.cancel, methods=["PUT"]),
            _QueueRoute(f"{prefix}{request}", fal.result, methods=["GET"]),
        ]
    for route in own:
        route.others = frozenset(others)
    return [*own]


class _QueueRoute(Route):
    others: frozenset[str] = frozenset()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            words = str(scope["path"]).strip("/").split("/")
            if len(words) < 2 or words[0] in self.others:
                return Match.NONE, {}
        return super().matches(scope)


def _fal(state: State) -> _Fal:
    """The one of this state: its uploads are shared by both kinds of routes."""
    found = state.kept.setdefault("fal", None)
    if not isinstance(found, _Fal):
        found = state.kept["fal"] = _Fal(state)
    return found


class _Fal(MeshRoutes):
    owner_prefix = "fal:"

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._uploads: dict[str, tuple[str, bytes]] = {}
        self._tokens: dict[str, str] = {}
        state.webhooks.voices[ID_PREFIX] = Voice(state.service.view, repeats=10, seal=self._seal)

    def new_prefix(self) -> str:
        return ID_PREFIX

    def admit(self, request: Request) -> str:
        """The owner of the request's key, whose scheme is `Key`. Raises Refusal."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "key" or not key.strip():
            raise Refusal(401, "unauthorized", "Cannot access application. Authentication is required.")
        owner = owner_of(self.owner_prefix + key.strip())
        wait = self.service.wait_for_rate(owner)
        if wait:
            raise Refusal(429, "rate_limit_exceeded", "Too many requests")
        return owner

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        known_status, kind = _CODES.get(code, (status, code))
        status = status if code == "internal_error" else known_status
        detail = _LOCKED if code == "spend_limit_exceeded" else message
        headers = {**_request_id(), "x-fal-error-type": kind, **(more.get("headers") or {})}
        return answer({"detail": detail, "error_type": kind}, status, headers)

    def too_large(self) -> Response:
        return self.error(413, "request_too_large", "the body is too large")

    async def submit(self, request: Request) -> Response:
        model, query = request.path_params["model"].strip("/"), request.query_params
        given = await _Submit(self, model, query.get("fal_webhook")).create(request)
        if given.headers.get("content-type") == "application/json":  # a page of the edge has none
            for name, value in _request_id().items():
                given.headers.setdefault(name, value)
        return given

    def urls(self, model: str, task_id: str) -> dict[str, str]:
        """They drop what is below the app."""
        own = f"{self.service.base_url}/{quote('/'.join(_app_of(model)))}/requests/{task_id}"
        return {"response_url": own, "status_url": f"{own}/status", "cancel_url": f"{own}/cancel"}

    def mesh_body(self, model: str, given: Mapping[str, Any], webhook: str | None) -> dict[str, Any]:
        """The Mesh request for the same picture."""
        content: list[dict[str, Any]] = [{"type": "text", "text": given["prompt"]}]
        for name, role in (("image_url", "first_frame"), ("end_image_url", "last_frame")):
            if given.get(name) is not None:
                url = self._data_uri(given[name])
                content.append({"type": "image_url", "image_url": {"url": url}, "role": role})
        for name, kind in _LISTS.items():
            for url in given.get(name) or ():
                role = f"reference_{kind.removesuffix('_url')}"
                content.append({"type": kind, kind: {"url": self._data_uri(url)}, "role": role})
        duration = given.get("duration")
        ratio = given.get("aspect_ratio")
        fields = {
            "resolution": given.get("resolution"),
            "ratio": "adaptive" if ratio == "auto" else ratio,
            "duration": -1 if duration == "auto" else int(duration) if duration else None,
            "generate_audio": given.get("generate_audio"),
            "seed": given.get("seed"),
            "camera_fixed": given.get("camera_fixed"),
            "callback_url": webhook,
        }
        return {
            "model": _family_id(model),
            "content": content,
            **{name: value for name, value in fields.items() if value is not None},
        }

    def _data_uri(self, url: object) -> object:
        """The bytes of an upload, so that the picture begins with them; any other address as it is."""
        name = str(url).rsplit("/", 1)[-1]
        if name not in self._uploads or not str(url).startswith(self.service.base_url):
            return url
        kind, data = self._uploads[name]
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"

    async def status(self, request: Request) -> Response:
        self.state.stats.gets += 1
        task_id = request.path_params["task_id"]
        self.state.stats.of(task_id).gets += 1

        def make(owner: str, struck: Struck) -> tuple[dict[str, Any], int]:
            task = self._find(request, owner)
            if task is None:
                return {"status": "NOT_FOUND"}, 404
            task = self.service.refresh(task)
            status = "running" if struck.of(Kind.REGRESS) is not None else task.shown_status
            word = _STATUSES.get(status, "COMPLETED")
            model = task.request["fal"]["model"]
            document: dict[str, Any] = {"status": word, "request_id": task.id, **self.urls(model, task.id)}
            if word == "IN_QUEUE":
                document["queue_position"] = 0
            else:
                document["logs"] = None
            if word == "COMPLETED":
                document["metrics"] = {"inference_time": task.finished_at - task.running_at}
                if _result_status(task) >= 300:
                    document |= {"error": task.error_message or "failed", "error_type": task.error_code}
            return _changed(document, struck), 200 if word == "COMPLETED" else 202

        return await self._reply(request, Where.GET, task_id, make)

    async def result(self, request: Request) -> Response:
        self.state.stats.gets += 1
        task_id = request.path_params["task_id"]

        def make(owner: str, struck: Struck) -> tuple[dict[str, Any], int]:
            task = self._find(request, owner)
            if task is None:
                return {"detail": "Request not found", "error_type": "not_found"}, 404
            task = self.service.refresh(task)
            if task.shown_status in _STATUSES:
                return {"detail": "Request is still in progress"}, 400
            return self._output(task), _result_status(task)

        # a fault of GETs strikes the status, which comes first
        return await self._reply(request, None, task_id, make)

    async def cancel(self, request: Request) -> Response:
        def make(owner: str, _struck: Struck) -> tuple[dict[str, Any], int]:
            task = self._find(request, owner)
            if task is None:
                return {"status": "NOT_FOUND"}, 404
            task = self.service.refresh(task)
            if task.shown_status not in _STATUSES:
                return {"status": "ALREADY_COMPLETED"}, 400
            if task.shown_status == "queued":  # a running one goes on: the request comes too late
                self.service.store.end(task.id, "cancelled", self.state.now())
            return {"status": "CANCELLATION_REQUESTED"}, 202

        return await self._reply(request, None, request.path_params["task_id"], make)

    def _find(self, request: Request, owner: str) -> AcceptedTask | None:
        """The request of this app; none that was removed from the queue."""
        task = self.service.find(request.path_params["task_id"], owner)
        if task is None or not task.id.startswith(ID_PREFIX) or task.outcome == "cancelled":
            return None
        app = _app_of(task.request["fal"]["model"])
        return task if [request.path_params[name] for name in ("owner", "app")] == app[-2:] else None

    def _output(self, task: AcceptedTask) -> dict[str, Any]:
        """What the model answers."""
        if _result_status(task) >= 500:
            return {"detail": task.error_message or "failed", "error_type": task.error_code}
        if _result_status(task) >= 300:
            problems = task.request["fal"].get("problems")
            return {"detail": problems or [_problem("prompt", task.error_message, task.error_code)]}
        name = "video.mp4"
        url = self.service.base_url + self.service.signer.path(task.id, name, time.time())
        video = {"url": url, "content_type": "video/mp4", "file_name": name, "file_size": None}
        return {"video": video, "seed": task.take}

    async def _reply(
        self,
        request: Request,
        where: Where | None,
        task_id: str,
        make: Callable[[str, Struck], tuple[dict[str, Any], int]],
    ) -> Response:
        """As `read_only`, with a status and the headers of the service."""
        connection = Connection(request, self.state.stopping)
        try:
            owner = self.admit(request)
            struck = Struck() if where is None else self.state.faults.take(where, task_id)
            fault = struck.general
            if fault is not None and fault.kind is Kind.ANSWER:
                return injected(fault, self.error)
            document, status = make(owner, struck)
        except Refusal as refusal:
            return self.refusal(refusal)
        if fault is not None and await connection.strike(fault, encode(document)):
            return GONE
        headers = {**_request_id(), "x-fal-billable-units": "1"} if "video" in document else _request_id()
        return answer(document, status, headers)

    async def history(self, request: Request) -> Response:
        self.state.stats.lists += 1

        def make(owner: str, struck: Struck) -> tuple[dict[str, Any], int]:
            return self._page(request, owner, struck), 200

        return await self._reply(request, Where.LIST, "", make)

    def _page(self, request: Request, owner: str, struck: Struck) -> dict[str, Any]:  # type: ignore[override]
        """What has ended, newest first."""
        query, now = request.query_params, self.state.now()
        models = [each for value in query.getlist("endpoint_id") for each in value.split(",")]
        if not models or len(models) > 50:
            raise Refusal(422, "missing", "endpoint_id: 1 to 50 are needed")
        wanted, status = query.get("request_id"), query.get("status")
        limit, offset = _number(query.get("limit"), 50), _number(query.get("cursor"), 0, low=0, high=10**9)
        since = _moment(query.get("start"), now - (90 if wanted else 1) * 86_400.0)
        until = _moment(query.get("end"), now + 1.0)
        lag, hidden = struck.of(Kind.LAG), struck.of(Kind.HIDDEN)
        selection = Selection(
            owner=None if self.service.config.shared_list else owner,
            after=max(since, now - PAYLOADS_LIFE),
            before=until,
            created_before=now - lag.seconds if lag is not None else None,
        )
        rows = []
        for task in self.service.page(selection, -1, 0)[0]:
            own = task.request.get("fal")
            if own is None or own["model"] not in models or now < task.finished_at:
                continue
            code = _result_status(task)
            kind = "success" if code < 300 else "error" if code >= 500 else "user_error"
            if wanted not in (None, task.id) or status not in (None, kind):
                continue
            row = self._row(task, own, code, with_payloads=query.get("expand") == "payloads", struck=struck)
            if hidden is None or not hidden.fields.items() <= row.items():
                rows.append(row)
        overlap = struck.of(Kind.OVERLAP)
        start = max(0, offset - overlap.count) if overlap is not None else offset
        endless = struck.of(Kind.ENDLESS) is not None
        shown = rows[0 if endless else start :][:limit]
        if struck.of(Kind.SHUFFLE) is not None:
            random.shuffle(shown)
        has_more = endless or start + limit < len(rows)
        return {
            "items": shown,
            "next_cursor": str(offset + limit) if has_more else None,
            "has_more": has_more,
        }

    def _row(
        self, task: AcceptedTask, own: Mapping[str, Any], code: int, *, with_payloads: bool, struck: Struck
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "request_id": task.id,
            "endpoint_id": own["model"],
            "sent_at": _iso(task.created_at),
            "started_at": _iso(task.running_at),
            "ended_at": _iso(task.finished_at),
            "status_code": code,
            "duration": task.finished_at - task.running_at,
        }
        if with_payloads:
            row |= {"json_input": own["input"], "json_output": self._output(task)}
        for fault in struck.faults:
            match fault.kind:
                case Kind.NULL_ECHOES:
                    row["json_input"] = None
                case Kind.SUFFIX:
                    row["endpoint_id"] += fault.text
                case Kind.FIELDS:
                    row.update(fault.fields)
        return row

    async def prices(self, request: Request) -> Response:
        self.state.stats.lists += 1

        def make(_owner: str, _struck: Struck) -> tuple[dict[str, Any], int]:
            models = [
                each for value in request.query_params.getlist("endpoint_id") for each in value.split(",")
            ]
            rows = [
                {"endpoint_id": each, "unit_price": price, "unit": "second", "currency": "USD"}
                for each in models
                if (price := _USD_PER_SECOND.get(_family(each))) is not None
            ]
            return {"prices": rows, "next_cursor": None, "has_more": False}, 200

        return await self._reply(request, Where.LIST, "", make)

    async def billing(self, request: Request) -> Response:
        """Every key here is an admin's; nothing is taken off."""
        self.state.stats.lists += 1

        def make(_owner: str, _struck: Struck) -> tuple[dict[str, Any], int]:
            asked = request.query_params.getlist("expand")
            more = {"credits": {"current_balance": 24.5, "currency": "USD"}} if "credits" in asked else {}
            return {"username": "sandbox", **more}, 200

        return await self._reply(request, Where.LIST, "", make)

    async def token(self, request: Request) -> Response:
        try:
            owner = self.admit(request)
        except Refusal as refusal:
            return self.refusal(refusal)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = owner
        expires = datetime.now(UTC) + timedelta(hours=1)
        base = self.service.base_url
        return answer(
            {"token": token, "token_type": "Bearer", "base_url": base, "expires_at": expires.isoformat()}
        )

    async def upload(self, request: Request) -> Response:
        """With a token in place of the key."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return self.error(401, "unauthorized", "no such token")
        name = await self._keep(request)
        if name is None:
            return self.too_large()
        return answer({"access_url": f"{self.service.base_url}/storage/kept/{name}"})

    async def initiate(self, request: Request) -> Response:
        try:
            self.admit(request)
            given = json.loads(await request.body())
        except Refusal as refusal:
            return self.refusal(refusal)
        except ValueError:
            return self.error(422, "json_invalid", "the body is not JSON")
        name = f"{secrets.token_hex(8)}.{str(given.get('file_name', 'bin')).rsplit('.', 1)[-1]}"
        base = f"{self.service.base_url}/storage"
        return answer({"upload_url": f"{base}/put/{name}", "file_url": f"{base}/kept/{name}"})

    async def put(self, request: Request) -> Response:
        if await self._keep(request, request.path_params["name"]) is None:
            return self.too_large()
        return Response(status_code=200)

    async def kept(self, request: Request) -> Response:
        found = self._uploads.get(request.path_params["name"])
        if found is None:
            return Response("no such file\n", 404, media_type="text/plain")
        return Response(found[1], media_type=found[0])

    async def _keep(self, request: Request, name: str | None = None) -> str | None:
        data = await request.body()
        if len(data) > MOST_UPLOAD:
            return None
        kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0]
        name = name or f"{secrets.token_hex(8)}.{kind.rsplit('/', 1)[-1]}"
        self._uploads[name] = (kind, data)
        return name

    async def keys(self, _: Request) -> Response:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        raw = self._signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        return answer({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "sandbox", "use": "sig", "x": x}]})

    @functools.cached_property
    def _signer(self) -> Ed25519PrivateKey:
        # imported here: it takes 20 ms, and few rehearsals call back
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.service.store.secret("fal webhooks"))

    def _seal(self, task: AcceptedTask, document: dict[str, Any]) -> Sealed:
        """A signed call; what says that a task has succeeded before it has is signed by nobody."""
        has_ended = self.state.now() >= task.finished_at
        is_ok = document["status"] == "succeeded" and _result_status(task) < 300
        told = {
            "request_id": task.id,
            "gateway_request_id": task.id,
            "status": "OK" if is_ok else "ERROR" if has_ended else "IN_QUEUE",
            "payload": self._output(task) if has_ended else None,
            **({"error": task.error_message or "failed"} if has_ended and not is_ok else {}),
        }
        body = encode({**told, **({"padding": document["padding"]} if "padding" in document else {})})
        said = [task.id, task.owner, str(int(self.state.now()))]
        message = "\n".join([*said, hashlib.sha256(body).hexdigest()]).encode()
        signature = bytes(64) if is_ok and not has_ended else self._signer.sign(message)
        names = ("request-id", "user-id", "timestamp", "signature")
        values = [*said, signature.hex()]
        return body, {f"x-fal-webhook-{name}": value for name, value in zip(names, values, strict=True)}


class _Submit(_Fal):
    """One POST, whose path is its model."""

    def __init__(self, fal: _Fal, model: str, webhook: str | None) -> None:
        self.state, self.service = fal.state, fal.service
        self._fal, self._model, self._webhook = fal, model, webhook

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        try:
            given = json.loads(body)
        except ValueError as problem:
            raise Refusal(422, "json_invalid", "the body is not JSON") from problem
        if not isinstance(given, dict):
            raise Refusal(422, "dict_type", "the body is not an object")
        own = {"model": self._model, "input": given, "problems": _problems(self._model, given)}
        plain = {"prompt": "wrong", "duration": "4"}
        kept = self._fal.mesh_body(self._model, plain if own["problems"] else given, self._webhook)
        try:
            request = read_request(json.dumps(kept).encode())
        except Refusal as refusal:
            own["problems"] = [_problem("prompt", refusal.message, "value_error")]
            kept = self._fal.mesh_body(self._model, plain, self._webhook)
            request = read_request(json.dumps(kept).encode())
        return request, json.dumps({**kept, "fal": own}).encode()

    def created(self, document: dict[str, Any]) -> dict[str, Any]:
        if "id" not in document:
            return {"status": "IN_QUEUE"}
        task_id = document["id"]
        return {
            "status": "IN_QUEUE",
            "request_id": task_id,
            "gateway_request_id": task_id,
            **self._fal.urls(self._model, task_id),
            "queue_position": 0,
        }


def _app_of(model: str) -> list[str]:
    parts = model.split("/")
    return parts[: 3 if parts[0] in NAMESPACES else 2]


def _family(model: str) -> str:
    """The family's name in the sandbox; empty for a model that it does not know."""
    found = _VERSION.search(model)
    if found is None:
        return ""
    kind = {None: "-pro" if found[1] == "1" else "", "pro/fast": "-pro-fast"}.get(found[3], f"-{found[3]}")
    kind = "-lite-i2v" if kind == "-lite" else kind
    return f"{found[1]}-{found[2] or '0'}{kind}"


def _family_id(model: str) -> str:
    family = _family(model)
    return f"seedance-{family}" if family else model


def _problem(name: str, message: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", name], "msg": message, "type": kind}


def _problems(model: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with an input, as the result will tell it."""
    if "prompt" not in given:
        return [_problem("prompt", "Field required", "missing")]
    found = [
        _problem(name, "Input is not one that this field takes", kind)
        for name, (kind, is_right) in _CHECKS.items()
        if given.get(name) is not None and not is_right(given[name])
    ]
    endpoint = model.rsplit("/", 1)[-1]
    if endpoint == "image-to-video" and given.get("image_url") is None:
        found.append(_problem("image_url", "Field required", "missing"))
    for name in (*_LISTS, "image_url", "end_image_url"):
        urls = given.get(name) if isinstance(given.get(name), list) else [given.get(name)]
        for url in urls or ():
            if url is not None and not str(url).startswith(("http://", "https://", "data:")):
                found.append(_problem(name, "Failed to download the file", "file_download_error"))
    return found


def _result_status(task: AcceptedTask) -> int:
    if task.request["fal"].get("problems"):
        return 422
    if task.outcome == "succeeded":
        return 200
    if task.outcome == "expired":
        return 504
    return _RESULTS.get(task.error_code, 422)


def _changed(document: dict[str, Any], struck: Struck) -> dict[str, Any]:
    for fault in struck.faults:
        if fault.kind is Kind.FIELDS:
            document.update(fault.fields)
    return document


def _request_id() -> dict[str, str]:
    return {"x-fal-request-id": secrets.token_hex(8)}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        raise Refusal(422, "datetime_parsing", "start, end: not an ISO 8601 time") from problem
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None, default: int, *, low: int = 1, high: int = 100) -> int:
    if text is None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise Refusal(422, "int_parsing", f"must be a number from {low} to {high}")
    return int(text)
