"""Mesh API's routes: create, get and list (wire/mesh-api.md)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer, encode, error, injected, too_large
from runner.sandbox.config import KEY_PREFIX
from runner.sandbox.connection import Connection
from runner.sandbox.faults import Fault, Kind, Stage, Struck, Where
from runner.sandbox.models import FAMILIES, USD_PER_MTOK, Family
from runner.sandbox.service import ECHOED, owner_of
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask, Selection
from runner.sandbox.validation import Refusal, VideoRequest

PATH = "/v1/video/generations"

NOTE = "x-sandbox-note"
"""The header that says how a model is made that the sandbox does not know."""

GONE = Response(status_code=499)
"""Stands for an answer on a connection that is cut already; never seen by a client."""


def mesh_routes(state: State) -> list[Route]:
    mesh = MeshRoutes(state)
    return [
        # one route: of two, a 405 would name the methods of the first alone
        Route(PATH, mesh.create_or_list, methods=["GET", "POST"]),
        Route(PATH + "/{task_id}", mesh.get, methods=["GET"]),
        Route("/v1/models", mesh.models, methods=["GET"]),
    ]


class MeshRoutes:
    """Also what other services' routes are made of: they override what differs, as `getimg` does.

    `owner_prefix` keeps one key's tasks at each service apart, and `key_scheme` is the word before a key.
    """

    accepted_status = 200
    owner_prefix = ""
    key_scheme = "Bearer"

    def __init__(self, state: State) -> None:
        self.state = state
        self.service = state.service

    @property
    def most_body(self) -> int:
        """Bytes of the largest request that is taken."""
        return self.service.config.max_body

    def new_prefix(self) -> str:
        """What the id of the next task begins with."""
        return "t-"

    def admit(self, request: Request) -> str:
        """The owner of the request's key. Raises Refused."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != self.key_scheme.lower() or not self.takes_key(key.strip()):
            raise Refusal(401, "unauthorized", "missing or invalid API key")
        owner = owner_of(self.owner_prefix + key.strip())
        wait = self.service.wait_for_rate(owner)
        if wait:
            raise _TooMany(wait)
        return owner

    async def create_or_list(self, request: Request) -> Response:
        return await (self.create(request) if request.method == "POST" else self.list(request))

    async def create(self, request: Request) -> Response:
        self.state.stats.posts += 1
        connection = Connection(request, self.state.stopping)
        try:
            owner = self.admit(request)
            struck = self.state.faults.take(Where.SUBMIT)
            fault = struck.general
            if fault is not None and fault.stage is Stage.REQUEST and await connection.strike(fault, b""):
                return GONE
            body = await _read_body(request, self.most_body)
            if body is None:
                return self.too_large()
            wanted, body = self.read(body, owner)
            if self.service.refuse_spending():
                raise Refusal(402, "spend_limit_exceeded", "the spend limit of this key is reached")  # noqa: TRY301
        except Refusal as refusal:
            return self.refusal(refusal)
        except ClientDisconnect:
            return GONE
        if fault is not None and not fault.accept and fault.kind is not Kind.DELAY:
            return await self._instead(fault, connection, b'{"id":"t-never-accepted"}')
        before = self.service.store.newest() if struck.of(Kind.FOREIGN_ID) else None
        task = self.service.accept(wanted, body, owner, struck.of(Kind.OUTCOME), self.new_prefix())
        self.state.webhooks.follow(task, wanted.callback_url)
        document = self.created(_created(task, before, struck))
        if fault is not None and (fault.kind is not Kind.DELAY or await connection.strike(fault, b"")):
            return await self._instead(fault, connection, encode(document))
        if not wanted.note:
            return answer(document, self.accepted_status)
        self.state.stats.notes[wanted.model] = wanted.note
        return answer(document, self.accepted_status, {NOTE: wanted.note})

    async def _instead(self, fault: Fault, connection: Connection, body: bytes) -> Response:
        """The end of a request whose connection or answer a fault has taken over."""
        if fault.kind is Kind.ANSWER:
            return injected(fault, self.error)
        await connection.strike(fault, body)
        return GONE

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        """An error in the service's words."""
        return error(status, code, message, **more)

    def refusal(self, refusal: Refusal) -> Response:
        wait = refusal.wait if isinstance(refusal, _TooMany) else None
        return self.error(
            refusal.status, refusal.code, refusal.message, details=refusal.details, retry_after=wait
        )

    def too_large(self) -> Response:
        return too_large()

    def takes_key(self, key: str) -> bool:
        """Whether the service knows this key."""
        return key.startswith(KEY_PREFIX)

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        """The request, and the body to keep of it. Raises Refusal."""
        return self.service.read(body, owner), body

    def created(self, document: dict[str, Any]) -> dict[str, Any]:
        """What is answered to an accepted POST; `document` holds the id."""
        return document

    async def get(self, request: Request) -> Response:
        self.state.stats.gets += 1
        task_id = request.path_params["task_id"]
        self.state.stats.of(task_id).gets += 1

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            task = self.find(task_id, owner)
            if task is None:
                raise Refusal(404, "not_found", f"no video generation {task_id}")
            return self.got(self.shown(self.service.refresh(task), struck))

        return await self.read_only(request, Where.GET, task_id, make)

    def got(self, document: dict[str, Any]) -> dict[str, Any]:
        """What is answered to a GET of one task; `document` is as `shown` gives it."""
        return document

    async def list(self, request: Request) -> Response:
        self.state.stats.lists += 1

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            selection, limit, offset = self.read_query(request)
            if not self.service.config.shared_list:
                selection = replace(selection, owner=owner)
            return self.listed(self._page(selection, limit, offset, struck), selection)

        return await self.read_only(request, Where.LIST, "", make)

    def read_query(self, request: Request) -> tuple[Selection, int, int]:
        """(selection, limit, offset) of a list. Raises Refusal."""
        return _read_query(request)

    def listed(self, page: dict[str, Any], selection: Selection) -> dict[str, Any]:
        """What is told of a page of `selection`, whose rows are as `shown` gives them."""
        return page

    async def models(self, request: Request) -> Response:
        """What is sold, with prices (wire/mesh-api.md, corrections). All of it is video."""
        self.state.stats.lists += 1
        wanted = request.query_params.get("type", "video")

        def make(_owner: str, _struck: Struck) -> dict[str, Any]:
            return {"data": [_model(family) for family in FAMILIES] if wanted == "video" else []}

        return await self.read_only(request, Where.LIST, "", make)

    async def read_only(
        self, request: Request, where: Where, task_id: str, make: Callable[[str, Struck], object]
    ) -> Response:
        """The answer to a free request, with its faults: `make` tells it to the owner of the key."""
        connection = Connection(request, self.state.stopping)
        try:
            owner = self.admit(request)
            struck = self.state.faults.take(where, task_id)
            fault = struck.general
            if fault is not None and fault.kind is Kind.ANSWER:
                return injected(fault, self.error)
            document = make(owner, struck)
        except Refusal as refusal:
            return self.refusal(refusal)
        if fault is not None and await connection.strike(fault, encode(document)):
            return GONE
        return answer(document)

    def find(self, task_id: str, owner: str) -> AcceptedTask | None:
        """The task, where this owner may see it."""
        return self.service.find(task_id, owner)

    def view(self, task: AcceptedTask) -> dict[str, Any]:
        """What the service tells of a task."""
        return self.service.view(task)

    def shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        """What is told of a task, with the faults that change it."""
        document = self.view(task)
        for fault in struck.faults:
            _change(document, fault, self.state.now() - task.created_at)
        return document

    def _page(self, selection: Selection, limit: int, offset: int, struck: Struck) -> dict[str, Any]:
        lag, overlap = struck.of(Kind.LAG), struck.of(Kind.OVERLAP)
        if lag is not None:
            newest = self.state.now() - lag.seconds
            selection = replace(selection, created_before=newest)
        start = max(0, offset - overlap.count) if overlap is not None else offset
        hidden, endless, more = (struck.of(kind) for kind in (Kind.HIDDEN, Kind.ENDLESS, Kind.TOTAL))
        if endless is not None:
            start = 0
        tasks, total = self.service.page(selection, limit, start)
        rows = [self.shown(task, struck) for task in tasks]
        if hidden is not None:
            shown = [row for row in rows if not hidden.fields.items() <= row.items()]
            total -= len(rows) - len(shown)
            rows = shown
        if more is not None:
            total += more.count
        if struck.of(Kind.SHUFFLE) is not None:
            random.shuffle(rows)
        return {
            "object": "list",
            "data": rows,
            "has_more": endless is not None or start + len(rows) < total,
            "total": total,
            "limit": limit,
            "offset": offset,
        }


def _model(family: Family) -> dict[str, Any]:
    plain, with_video = USD_PER_MTOK.get(family.name, (None, None))
    maker = "dreamina-" if family.name.startswith("2-") else ""
    pricing = {
        "pricing_unit": "tokens",
        "output_usd_per_1m": plain,
        "output_with_video_usd_per_1m": with_video,
    }
    return {
        "id": f"byteplus/{maker}seedance-{family.name}",
        "supports_video_generation": True,
        "pricing": None if plain is None else pricing,
    }


class _TooMany(Refusal):
    def __init__(self, wait: float) -> None:
        super().__init__(429, "rate_limit_exceeded", "too many requests in a minute")
        self.wait = wait


def _created(task: AcceptedTask, before: AcceptedTask | None, struck: Struck) -> dict[str, Any]:
    foreign = struck.of(Kind.FOREIGN_ID)
    if struck.of(Kind.NO_ID) is not None:
        return {}
    if foreign is not None:
        return {"id": foreign.text or (before.id if before is not None else task.id)}
    return {"id": task.id}


async def _read_body(request: Request, most: int) -> bytes | None:
    """The body, or None where it is too large; read to its end, so that the client hears the answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
        else:
            chunks.clear()
    return b"".join(chunks) if size <= most else None


def _change(document: dict[str, Any], fault: Fault, age: float) -> None:
    """What a fault makes of a Task object; `age` is the task's, in seconds."""
    match fault.kind:
        case Kind.FIELDS:
            document.update(fault.fields)
        case Kind.NULL_ECHOES if not fault.seconds or age < fault.seconds:
            document.update(dict.fromkeys(ECHOED))
        case Kind.REGRESS if document["status"] not in ("queued", "running"):
            document.update(status="running", error=None, content=None, usage=None)
        case Kind.SUFFIX:
            document["model"] += fault.text
        case Kind.LATE_FRAME if document["content"] is not None:
            document["content"]["last_frame_url"] = None
        case Kind.EARLY_FRAME if document["content"] is not None:
            document["content"]["last_frame_url"] = fault.text
        case Kind.CONTENT_ARRAY if document["content"] is not None:
            document["content"] = [
                {"type": name, "url": url} for name, url in document["content"].items() if url is not None
            ]


def _read_query(request: Request) -> tuple[Selection, int, int]:
    """(selection, limit, offset) of a list. Raises Refusal."""
    query = request.query_params
    selection = Selection(
        statuses=tuple(query.getlist("status")),
        models=tuple(query.getlist("model")),
        after=_read_time(query.get("created_after"), "created_after"),
        before=_read_time(query.get("created_before"), "created_before"),
    )
    limit = _read_number(query.get("limit"), "limit", low=1, high=200, default=50)
    offset = _read_number(query.get("offset"), "offset", low=0, high=2**62, default=0)
    return selection, limit, offset


def _read_time(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        raise Refusal(422, "validation_error", f"{name}: not an ISO 8601 time", name) from problem
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_number(text: str | None, name: str, *, low: int, high: int, default: int) -> int:
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise Refusal(422, "validation_error", f"{name}: must be an integer from {low}", name)
    return number
