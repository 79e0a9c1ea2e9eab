"""Ark's routes (wire/ark.md): create, get, list and delete, over the same tasks and renderer.

A request is kept as the Mesh request that asks for the same picture, with Ark's own fields beside it.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer
from runner.sandbox.faults import Kind, Struck, Where
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.models import Family, find_family
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask, Selection
from runner.sandbox.validation import Refusal, VideoRequest, check_types, read_json
from runner.sandbox.webhooks import Voice

PATH = "/api/v3/contents/generations/tasks"
ID_PREFIX = "cgt-"
MOST_BODY = 64_000_000
RECORD_LIFE = 7 * 86_400.0
CANCELLED_LIFE = 86_400.0
MOST_SEED = 2_147_483_647

_SECOND = ("2-5-260628", "2-0-260128", "2-0-fast-260128", "2-0-mini-260615")
_FIRST = ("1-0-pro-250528", "1-0-pro-fast-251015")
_OLD = ("1-5-pro-251215", "1-0-lite-t2v-250428", "1-0-lite-i2v-250428")
MODELS: Final = frozenset(
    {f"{maker}seedance-{name}" for maker in ("dreamina-", "doubao-") for name in _SECOND}
    | {f"{maker}seedance-{name}" for maker in ("", "doubao-") for name in _FIRST}
    | {f"doubao-seedance-{name}" for name in _OLD}
)
"""Those that are sold, on BytePlus and on Volcengine, which is not known to have retired any."""
RETIRED: Final = frozenset({f"seedance-{name}" for name in _OLD})
_SEEDANCE = re.compile(r"(?:.*/)?(?:dreamina-|doubao-)?seedance-.*", re.IGNORECASE)
_DATA = re.compile(r"data:(?:image|audio)/[a-z0-9.+-]+;base64,")
_ASSET = "asset://"

_COMMON = frozenset(
    {
        "model",
        "content",
        "resolution",
        "ratio",
        "duration",
        "watermark",
        "return_last_frame",
        "execution_expires_after",
        "callback_url",
        "safety_identifier",
    }
)
_CHOICES = {
    "resolution": ("480p", "720p", "1080p", "4k"),
    "service_tier": ("default", "flex"),
    "output_format": ("mp4", "mov"),
    "omni_reference_task_type": ("auto", "reference", "edit", "extend"),
}
_TOOLS = [{"type": "web_search"}]
_OF_THE_DRAFT = ("ratio", "duration", "frames", "seed", "camera_fixed", "generate_audio")
_SHOWN = (
    "resolution",
    "ratio",
    "framespersecond",
    "generate_audio",
    "draft",
    "draft_task_id",
    "service_tier",
    "execution_expires_after",
    "safety_identifier",
)
_CODES = {
    "unauthorized": (401, "AuthenticationError"),
    "rate_limit_exceeded": (429, "AccountRateLimitExceeded"),
    "spend_limit_exceeded": (403, "AccountOverdueError"),
    "not_found": (404, "NotFound.Task"),
    "validation_error": (400, "InvalidParameter"),
    "internal_error": (500, "InternalServiceError"),
    "content_policy_violation": (400, "InputTextSensitiveContentDetected.PolicyViolation"),
}
"""Ark's status and code for what the sandbox names by itself."""
_TYPES = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}
_DELETED = "deleted"


def ark_routes(state: State) -> list[Route]:
    ark = _Ark(state)
    return [
        Route(PATH, ark.create_or_list, methods=["GET", "POST"]),
        Route(PATH + "/{task_id}", ark.get_or_delete, methods=["GET", "DELETE"]),
    ]


class _Ark(MeshRoutes):
    owner_prefix = "ark:"

    def __init__(self, state: State) -> None:
        super().__init__(state)
        announced = frozenset({"queued", "running", "succeeded", "failed", "expired"})
        state.webhooks.voices[ID_PREFIX] = Voice(self.view, announced, repeats=3)

    @property
    def most_body(self) -> int:
        return MOST_BODY

    def new_prefix(self) -> str:
        return f"{ID_PREFIX}{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-"

    def takes_key(self, key: str) -> bool:
        """Any key: their form has changed, and may again."""
        return bool(key)

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        known = _CODES.get(code, (status, code))[1]
        details = more.get("details")
        param = ".".join(details[0]["loc"][1:]) if details else ""
        headers = dict(more.get("headers") or {})
        if status == 401:
            headers.setdefault("x-error-code", known)
        # no Retry-After: the service documents none
        content = {"code": known, "message": message, "param": param, "type": _type_of(status)}
        return answer({"error": content}, status, headers)

    def refusal(self, refusal: Refusal) -> Response:
        """In Ark's words, also where the sandbox refuses by itself."""
        refusal.status = _CODES.get(refusal.code, (refusal.status, ""))[0]
        return super().refusal(refusal)

    def too_large(self) -> Response:
        return self.error(413, "RequestEntityTooLarge", "the body is larger than 64 MB")

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        kept = kept_body(read_json(body))
        return self.service.read(kept, owner), kept

    def view(self, task: AcceptedTask) -> dict[str, Any]:
        """The task object, as GET, list and callback show it."""
        plain = self.service.view(task)
        kept = task.request
        length = "frames" if task.echo["frames"] is not None else "duration"
        document = {
            "id": task.id,
            "model": kept["ark_model"],
            **{name: plain[name] for name in ("status", "error", "created_at", "updated_at", "content")},
            "seed": task.take,
            **{name: plain[name] for name in _SHOWN},
            length: plain[length],
            "priority": plain["priority"],
            "output_format": kept.get("output_format", "mp4"),
            "usage": plain["usage"],
        }
        if document["error"] is not None:
            code = document["error"]["code"]
            document["error"]["code"] = _CODES.get(code, (0, code))[1]
        if document["usage"] is not None and _has_video(kept):
            tokens = document["usage"]["completion_tokens"] * 9 // 5  # the published minimum: 9 s for 5 s
            document["usage"] = {"completion_tokens": tokens, "total_tokens": tokens}
        if document["content"] is not None and document["output_format"] == "mov":
            signer, now = self.service.signer, time.time()
            url = self.service.base_url + signer.path(task.id, "video.mov", now)
            document["content"]["video_url"] = url
        return document

    def find(self, task_id: str, owner: str) -> AcceptedTask | None:
        task = self.service.find(task_id, owner) if task_id.startswith(ID_PREFIX) else None
        return task if task is not None and self._is_kept(task) else None

    def _is_kept(self, task: AcceptedTask) -> bool:
        """Whether the service still has the record."""
        now = self.state.now()
        if task.shown_status == _DELETED or now > task.created_at + RECORD_LIFE:
            return False
        return task.outcome != "cancelled" or now <= task.finished_at + CANCELLED_LIFE

    async def get_or_delete(self, request: Request) -> Response:
        return await (self.delete(request) if request.method == "DELETE" else self.get(request))

    async def delete(self, request: Request) -> Response:
        """Cancels a queued task, or deletes the record of one that has ended: for ever."""
        self.state.stats.deletes += 1
        try:
            owner = self.admit(request)
            task = self.find(request.path_params["task_id"], owner)
            if task is None:
                raise Refusal(404, "not_found", "the task is not there")  # noqa: TRY301
            now = self.state.now()
            status = task.status_at(now)
            if status == "running":
                raise Refusal(403, "OperationDenied.InvalidState", "a running task is not deleted")  # noqa: TRY301
        except Refusal as refusal:
            return self.refusal(refusal)
        if status == "queued":
            self.service.store.end(task.id, "cancelled", now)
        else:
            self.service.store.show(task.id, _DELETED, now)
        return answer({})

    async def list(self, request: Request) -> Response:
        self.state.stats.lists += 1

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            query = request.query_params
            number = _read_number(query.get("page_num"), "page_num", default=1)
            size = _read_number(query.get("page_size"), "page_size", default=20)
            rows = self._rows(owner, query.getlist("filter.model"), struck)
            ids, statuses = query.getlist("filter.task_ids"), query.getlist("filter.status")
            tier = query.get("filter.service_tier", "default")
            if not {*statuses} <= {"queued", "running", "cancelled", "succeeded", "failed"}:
                raise _invalid("filter.status", "is no status to filter by")
            if tier not in _CHOICES["service_tier"]:
                raise _invalid("filter.service_tier", "must be default or flex")
            chosen = [
                row
                for row in rows
                if row["service_tier"] == tier
                if not ids or row["id"] in ids
                if not statuses or row["status"] in statuses
            ]
            return _page(chosen, number, size, struck)

        return await self.read_only(request, Where.LIST, "", make)

    def _rows(self, owner: str, models: Sequence[str], struck: Struck) -> Sequence[dict[str, Any]]:
        """Every task of the last seven days; a list is as new as a GET is."""
        lag = struck.of(Kind.LAG)
        now = self.state.now()
        selection = Selection(
            owner=None if self.service.config.shared_list else owner,
            models=tuple(models),
            after=now - RECORD_LIFE,
            created_before=now - lag.seconds if lag is not None else None,
        )
        tasks, _ = self.service.page(selection, -1, 0)
        kept = (task for task in tasks if task.id.startswith(ID_PREFIX) and self._is_kept(task))
        return [self.shown(self.service.refresh(task), struck) for task in kept]


def _page(rows: Sequence[dict[str, Any]], number: int, size: int, struck: Struck) -> dict[str, Any]:
    hidden, overlap = struck.of(Kind.HIDDEN), struck.of(Kind.OVERLAP)
    if hidden is not None:
        rows = [row for row in rows if not hidden.fields.items() <= row.items()]
    total, start = len(rows), (number - 1) * size
    if overlap is not None:
        start = max(0, start - overlap.count)
    if struck.of(Kind.ENDLESS) is not None:
        start, total = 0, max(total, (number + 1) * size)
    more = struck.of(Kind.TOTAL)
    page = [*rows[start : start + size]]
    if struck.of(Kind.SHUFFLE) is not None:
        random.shuffle(page)
    return {"total": total + (more.count if more is not None else 0), "items": page}


def _type_of(status: int) -> str:
    names = {
        400: "BadRequest",
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        429: "TooManyRequests",
    }
    return names.get(status, "BadRequest" if status < 500 else "InternalServerError")


def _invalid(name: str, message: str, kind: str = "") -> Refusal:
    code = f"InvalidParameter.{kind}" if kind else "InvalidParameter"
    return Refusal(400, code, f"{name}: {message}", name)


def _read_number(text: str | None, name: str, *, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 500:
        raise _invalid(name, "must be an integer from 1 to 500")
    return int(text)


def _has_video(kept: Mapping[str, Any]) -> bool:
    return any(item.get("type") == "video_url" for item in kept["content"])


def kept_body(document: dict[str, Any]) -> bytes:
    """The body of the Mesh request for the same picture. Raises Refusal."""
    given = {name: value for name, value in document.items() if value is not None}
    check_types(given)
    model: str = given["model"]
    family = _family_of(model)
    _check_fields(given, family)
    content = [_read_item(number, item) for number, item in enumerate(given["content"])]
    if family is not None:
        _check_task(given, family)
    kept = {**given, "content": content, "ark_model": model}
    if model.startswith("doubao-"):
        kept["model"] = model.removeprefix("doubao-")
    roles = {str(item.get("role")) for item in given["content"]}
    if family is not None and family.name.startswith("1-0") and "reference_image" not in roles:
        kept.setdefault("resolution", "1080p")
    return json.dumps(kept).encode()


def _family_of(model: str) -> Family | None:
    """None for an endpoint, and for a model of another family. Raises Refusal for an id that is not there."""
    if model in RETIRED:
        raise Refusal(404, "InvalidEndpointOrModel.NotFound", f"{model} is retired", "model")
    if model in MODELS:
        return find_family(model.removeprefix("doubao-"))
    family = find_family(model.rsplit("/", 1)[-1].removeprefix("doubao-"))
    if family is not None and _SEEDANCE.fullmatch(model):
        raise Refusal(404, "InvalidEndpointOrModel.NotFound", f"{model} is no model of this service", "model")
    return None


def _check_fields(given: dict[str, Any], family: Family | None) -> None:
    """Every field that is there is one that the model knows, whatever it asks for."""
    knows = {
        "frames": family is None or family.frames,
        "seed": family is None or family.honours_seed,
        "generate_audio": family is None or family.audio,
        "camera_fixed": family is None or family.camera_fixed,
        "draft": family is None or family.draft,
        "service_tier": family is None or family.flex,
        "priority": family is None or family.priority,
        "output_format": family is None or family.name == "2-5",
        "omni_reference_task_type": family is None or family.name == "2-5",
        "tools": family is None or family.name.startswith("2-"),
    }
    for name, value in given.items():
        if name not in _COMMON and not knows.get(name, False):
            told = f"not supported by {family.title if family is not None else 'any model'}"
            raise _invalid(name, told, "UnsupportedParameter")
        if name in _CHOICES and family is not None and value not in _CHOICES[name]:
            raise _invalid(name, f"must be one of {', '.join(_CHOICES[name])}")
    for name in ("output_format", "omni_reference_task_type"):
        if not isinstance(given.get(name, ""), str):
            raise _invalid(name, "must be a string")
    if given.get("seed", 0) > MOST_SEED:
        raise _invalid("seed", f"must be from -1 to {MOST_SEED}")
    if given.get("safety_identifier") == "":
        raise _invalid("safety_identifier", "must not be empty")
    is_for_text = family is None or _kinds(given) == {"text"}
    if "tools" in given and (given["tools"] != _TOOLS or not is_for_text):
        raise _invalid("tools", "web_search alone, for a prompt of text alone")


def _kinds(given: dict[str, Any]) -> set[str]:
    return {str(item["type"]) for item in given["content"]}


def _check_task(given: dict[str, Any], family: Family) -> None:
    """The rules for what a task of 2.5 is, and for a final."""
    kinds, task_type = _kinds(given), given.get("omni_reference_task_type", "auto")
    roles = {str(item.get("role")) for item in given["content"]}
    if task_type in ("edit", "extend"):
        if "video_url" not in kinds:
            raise _invalid("content", f"{task_type} needs a video", "TaskTypeMismatch")
        if given.get("ratio", "adaptive") != "adaptive":
            raise _invalid("ratio", f"{task_type} takes adaptive", "TaskTypeConstraint")
        if task_type == "edit" and given.get("duration", -1) != -1:
            raise _invalid("duration", "edit takes -1", "TaskTypeConstraint")
    if task_type != "auto" and (roles & {"first_frame", "last_frame"} or kinds <= {"text"}):
        raise _invalid("content", f"{task_type} needs references", "TaskTypeMismatch")
    if "draft_task" in kinds:
        if len(given["content"]) > 1:
            raise _invalid("content", "a final is made of one draft_task alone")
        for name in _OF_THE_DRAFT:
            if name in given:
                raise _invalid(name, "is taken from the draft")
        if family.final_resolutions and given.get("resolution") not in family.final_resolutions:
            raise _invalid("resolution", f"a final has {', '.join(family.final_resolutions)}")


def _read_item(number: int, item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is kept: an asset by an address that nobody fetches. Raises Refusal."""
    kind = item["type"]
    target = item.get(kind)
    url = target.get("url") if kind.endswith("_url") and isinstance(target, dict) else None
    if not isinstance(url, str):
        return item
    where = f"content.{number}.{kind}"
    if url[:5].casefold() == "data:" and (kind == "video_url" or not _DATA.match(url)):
        raise _invalid(where, "a data URI is for images and audio, its type in lower case")
    if url.startswith(_ASSET):
        name = url.removeprefix(_ASSET)
        if not name or not name.isascii() or not name.isprintable() or "/" in name:
            raise _invalid(where, "an asset has an id")
        return {**item, kind: {"url": f"https://asset.invalid/{name}"}}
    return item
