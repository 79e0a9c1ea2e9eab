"""The OpenAI-shaped routes of video servers (wire/openai-videos.md), over the sandbox's tasks and pictures.

Each kind of server is below a path of its own: `/vllm-omni/v1/videos`, `/sglang/v1/videos`,
`/litellm/v1/videos` and `/reference/v1/videos` are as strict as what they stand for. `/v1/videos` takes what
any of them takes and answers as the reference does, so that a rehearsal of every account goes through it.

A request is kept as the Mesh request that asks for the same picture, with what is told of it under `openai`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer
from runner.sandbox.downloads import send_file
from runner.sandbox.faults import Kind, Struck, Where
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.service import owner_of
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask, Selection
from runner.sandbox.validation import Refusal, VideoRequest, read_json, read_request

MOST_PROMPT = 32_000
MOST_LISTED = 100
CONTENT_LIFE = 3600
"""Seconds until the reference drops a result."""

_COMMON = frozenset({"model", "prompt", "seconds", "size", "input_reference"})
_VLLM = frozenset(
    {
        "aspect_ratio",
        "audio_reference",
        "boundary_ratio",
        "extra_params",
        "flow_shift",
        "fps",
        "generate_sound",
        "guidance_scale",
        "guidance_scale_2",
        "height",
        "image_reference",
        "lora",
        "negative_prompt",
        "num_frames",
        "num_inference_steps",
        "num_outputs_per_prompt",
        "quality",
        "seed",
        "short_edge",
        "sound_duration",
        "true_cfg_scale",
        "user",
        "video_reference",
        "width",
    }
)
_SGLANG = frozenset(
    {
        "enhance_prompt",
        "extra_body",
        "extra_json",
        "extra_params",
        "fps",
        "guidance_scale",
        "height",
        "n",
        "negative_prompt",
        "num_frames",
        "num_inference_steps",
        "reference_url",
        "seed",
        "task_type",
        "video_path",
        "video_url",
        "width",
    }
)
_LITELLM = frozenset(
    {
        "aspect_ratio",
        "characters",
        "custom_llm_provider",
        "duration",
        "extra_body",
        "fps",
        "frame_images",
        "generate_audio",
        "input_references",
        "negative_prompt",
        "parameters",
        "resolution",
        "seed",
        "user",
    }
)
_REFERENCE_SIZES = frozenset({"720x1280", "1280x720", "1024x1792", "1792x1024"})
_WHOLE = frozenset(
    {"seed", "num_frames", "width", "height", "n", "num_inference_steps", "num_outputs_per_prompt"}
)
_STATUSES = {"queued": "queued", "running": "in_progress", "succeeded": "completed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kindred:
    """One kind of server, below `root`. `fields` are those that it takes beside the common ones.

    `deletes`: it has a DELETE, and with `deletes_unfinished` for a video at work too; `marks`: what is
    deleted is still shown. `own_status`: a failed job is answered under its failure's own status. `not_ready`
    is the status of a content that is not there yet. `indexed`: the `variant` of a content is a number, and
    lengths are numbers. `wrapped_ids`: an id is base64. `lists_provider`: a list wants to have a provider
    named.
    """

    name: str
    root: str
    fields: frozenset[str]
    needs_key: bool = False
    is_form_only: bool = False
    is_reference: bool = False
    echoes_prompt: bool = True
    detail_errors: bool = False
    deletes: bool = True
    deletes_unfinished: bool = True
    marks: bool = False
    remixes: bool = False
    own_status: bool = False
    not_ready: int = 404
    ranges: bool = True
    indexed: bool = False
    wrapped_ids: bool = False
    lists_provider: bool = False


KINDS = (
    Kindred(
        name="any", root="", fields=_VLLM | _SGLANG | _LITELLM | {"input_reference[image_url]"}, remixes=True
    ),
    Kindred(
        name="reference",
        root="/reference",
        fields=frozenset({"input_reference[image_url]", "input_reference[file_id]"}),
        needs_key=True,
        is_reference=True,
        deletes_unfinished=False,
        remixes=True,
    ),
    Kindred(
        name="vllm-omni",
        root="/vllm-omni",
        fields=_VLLM,
        is_form_only=True,
        detail_errors=True,
        own_status=True,
    ),
    Kindred(
        name="sglang",
        root="/sglang",
        fields=_SGLANG,
        echoes_prompt=False,
        detail_errors=True,
        marks=True,
        indexed=True,
    ),
    Kindred(
        name="litellm",
        root="/litellm",
        fields=_LITELLM | {"input_reference[image_url]"},
        needs_key=True,
        echoes_prompt=False,
        deletes=False,
        not_ready=400,
        ranges=False,
        wrapped_ids=True,
        lists_provider=True,
    ),
)


def openai_routes(state: State) -> list[Route]:
    routes: list[Route] = []
    for kind in KINDS:
        videos, path = _Videos(state, kind), f"{kind.root}/v1/videos"
        methods = ["GET", "DELETE"] if kind.deletes else ["GET"]
        routes += [
            Route(path, videos.create_or_list, methods=["GET", "POST"]),
            Route(path + "/{task_id}", videos.get_or_delete, methods=methods),
            Route(path + "/{task_id}/content", videos.content, methods=["GET"]),
        ]
        if kind.remixes:
            routes.append(Route(path + "/{task_id}/remix", videos.remix, methods=["POST"]))
        if kind.root:
            # below no root it is Mesh's own list of models
            routes.append(Route(f"{kind.root}/v1/models", videos.models, methods=["GET"]))
    return routes


class _Videos(MeshRoutes):
    def __init__(self, state: State, kind: Kindred, deleted: set[str] | None = None) -> None:
        super().__init__(state)
        self.kind = kind
        self.owner_prefix = f"openai:{kind.name}:"
        self._deleted = set[str]() if deleted is None else deleted

    def new_prefix(self) -> str:
        return "video_"

    def admit(self, request: Request) -> str:
        if not self.kind.needs_key and "authorization" not in request.headers:
            return owner_of(self.owner_prefix)
        return super().admit(request)

    def takes_key(self, key: str) -> bool:
        return bool(key)

    def error(self, status: int, code: str, message: str, **more: Any) -> Response:
        headers = dict(more.get("headers") or {})
        wait = more.get("retry_after")
        if wait is not None:
            headers.setdefault("retry-after", str(math.ceil(wait)))
        if self.kind.detail_errors:
            return answer({"detail": message}, status, headers)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        return answer({"error": error}, status, headers)

    def too_large(self) -> Response:
        return self.error(413, "request_too_large", "the body is too large")

    async def create(self, request: Request) -> Response:
        make = _Creation(self.state, self.kind, self._deleted, request.headers.get("content-type", ""))
        return await make.answered(request)

    async def remix(self, request: Request) -> Response:
        """A new video by another prompt; the rest is as before."""
        source = request.path_params["task_id"]
        make = _Creation(
            self.state, self.kind, self._deleted, request.headers.get("content-type", ""), source
        )
        return await make.answered(request)

    async def get_or_delete(self, request: Request) -> Response:
        return await (self.delete(request) if request.method == "DELETE" else self.get(request))

    async def get(self, request: Request) -> Response:
        self.state.stats.gets += 1
        task_id = self.inner(request.path_params["task_id"])
        self.state.stats.of(task_id).gets += 1

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            return self.shown(self.service.refresh(self.found(task_id, owner)), struck)

        response = await self.read_only(request, Where.GET, task_id, make)
        if self.kind.own_status and response.status_code == 200:
            error = json.loads(bytes(response.body)).get("error")
            response.status_code = error["code"] if error else 200
        return response

    def found(self, task_id: str, owner: str) -> AcceptedTask:
        """Raises Refusal."""
        task = self.service.find(task_id, owner)
        if task is None or (task.id in self._deleted and not self.kind.marks):
            raise Refusal(404, "not_found", f"no video {task_id}")
        return task

    async def delete(self, request: Request) -> Response:
        def make(owner: str, _struck: Struck) -> dict[str, Any]:
            task = self.service.refresh(self.found(self.inner(request.path_params["task_id"]), owner))
            if not self.kind.deletes_unfinished and task.shown_status in ("queued", "running"):
                raise Refusal(400, "invalid_request", "the video is not finished")
            self._deleted.add(task.id)
            return {"id": self.outer(task.id), "object": "video.deleted", "deleted": True}

        return await self.read_only(request, Where.GET, "", make)

    async def content(self, request: Request) -> Response:
        """The video itself, to the key that asked for it."""
        self.state.stats.downloads += 1
        try:
            task = self.found(self.inner(request.path_params["task_id"]), self.admit(request))
            task = self.service.refresh(task)
            number = self._result(task, request.query_params.get("variant"))
        except Refusal as refusal:
            return self.refusal(refusal)
        return await send_file(request, self.state, task, "video.mp4", number=number, ranges=self.kind.ranges)

    def _result(self, task: AcceptedTask, variant: str | None) -> int:
        """The number of the result that is asked for. Raises Refusal."""
        if task.shown_status in ("queued", "running"):
            raise Refusal(self.kind.not_ready, "not_ready", "the video is not ready yet")
        if task.shown_status != "succeeded":
            raise Refusal(422, "video_failed", "the video failed")
        if not self.kind.indexed:
            if variant not in (None, "video"):
                raise Refusal(404, "not_found", "the sandbox makes no thumbnail and no spritesheet")
            return 0
        if variant is not None and (not variant.isdecimal() or int(variant) >= _told(task)["n"]):
            raise Refusal(404, "not_found", f"no result {variant}")
        return int(variant or 0)

    def inner(self, shown: str) -> str:
        """The sandbox's own id of what is shown under this one."""
        if not self.kind.wrapped_ids:
            return shown
        try:
            text = base64.b64decode(shown.removeprefix("video_"), validate=True).decode()
        except (binascii.Error, ValueError):
            return shown
        return text.rpartition("video_id:")[2]

    def outer(self, task_id: str) -> str:
        """As a gateway shows it: with its provider and model, in base64."""
        if not self.kind.wrapped_ids:
            return task_id
        text = f"litellm:custom_llm_provider:openai;model_id:{'0123456789abcdef' * 4};video_id:{task_id}"
        return f"video_{base64.b64encode(text.encode()).decode()}"

    def shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        job = self._job(task)
        for fault in struck.faults:
            match fault.kind:
                case Kind.FIELDS:
                    job.update(fault.fields)
                case Kind.NULL_ECHOES:
                    job.update(dict.fromkeys(job.keys() & {"prompt", "size", "seconds"}))
                case Kind.REGRESS if job["status"] not in ("queued", "in_progress"):
                    job.update(status="in_progress", error=None, completed_at=None)
                case Kind.SUFFIX:
                    job["model"] += fault.text
        return job

    def _job(self, task: AcceptedTask) -> dict[str, Any]:
        told = _told(task)
        status = _STATUSES.get(task.shown_status, "failed")
        is_over = status in ("completed", "failed")
        job: dict[str, Any] = {
            "id": self.outer(task.id),
            "object": "video",
            "model": task.model,
            "status": status,
            "progress": 100 if status == "completed" else 0,
            "created_at": int(task.created_at),
            "completed_at": int(task.finished_at) if is_over else None,
            "prompt": told["prompt"],
            "size": told["size"],
            "seconds": told["seconds"],
            "remixed_from_video_id": told["remixed_from"],
            "error": None,
        }
        if status == "failed":
            code: str | int = task.error_code
            if self.kind.own_status:
                code = 400 if "policy" in task.error_code else 500
            job["error"] = {"code": code, "message": task.error_message}
        if self.kind.is_reference:
            job["expires_at"] = int(task.finished_at) + CONTENT_LIFE if status == "completed" else None
        if not self.kind.echoes_prompt:
            del job["prompt"]
        if self.kind.indexed:
            paths = [f"outputs/{task.id}-{number}.mp4" for number in range(told["n"])]
            job.update(url=None, file_path=paths[0], file_paths=paths)
            if task.id in self._deleted:
                job["status"] = "deleted"
        return job

    async def list(self, request: Request) -> Response:
        self.state.stats.lists += 1
        query = request.query_params

        def make(owner: str, struck: Struck) -> dict[str, Any]:
            if self.kind.lists_provider and "custom_llm_provider" not in query:
                raise Refusal(400, "invalid_request", "custom_llm_provider is required")
            least = 1 if self.kind.indexed else 0
            limit = _number(query.get("limit", "20"), "limit", least, MOST_LISTED)
            if query.get("order", "desc") not in ("asc", "desc"):
                raise Refusal(400, "invalid_request", "order: must be asc or desc")
            is_descending = query.get("order", "desc") == "desc"
            return self._listed(owner, limit, query.get("after", ""), struck, is_descending=is_descending)

        return await self.read_only(request, Where.LIST, "", make)

    def _listed(
        self, owner: str, limit: int, after: str, struck: Struck, *, is_descending: bool
    ) -> dict[str, Any]:
        lag, overlap, hidden = (struck.of(kind) for kind in (Kind.LAG, Kind.OVERLAP, Kind.HIDDEN))
        selection = Selection(owner=owner)
        if lag is not None:
            selection = replace(selection, created_before=self.state.now() - lag.seconds)
        tasks, _ = self.service.page(selection, self.service.store.count, 0)
        rows = [self.shown(task, struck) for task in tasks if task.id not in self._deleted]
        if not is_descending:
            rows.reverse()
        if hidden is not None:
            rows = [row for row in rows if not hidden.fields.items() <= row.items()]
        ids = [row["id"] for row in rows]
        is_endless = struck.of(Kind.ENDLESS) is not None
        if after and after not in ids:
            raise Refusal(404, "not_found", f"no video {after}")
        start = ids.index(after) + 1 if after and not is_endless else 0
        if overlap is not None:
            start = max(0, start - overlap.count)
        page = rows[start : start + limit]
        if struck.of(Kind.SHUFFLE) is not None:
            page.reverse()
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": is_endless or start + len(page) < len(rows),
        }

    async def models(self, request: Request) -> Response:
        """Of a server that has one model; the sandbox takes any."""
        self.state.stats.lists += 1

        def make(_owner: str, _struck: Struck) -> dict[str, Any]:
            return {"object": "list", "data": [{"id": "sandbox", "object": "model", "owned_by": "sandbox"}]}

        return await self.read_only(request, Where.LIST, "", make)


class _Creation(_Videos):
    """One POST: the form of its body, and the video that it remixes."""

    def __init__(
        self, state: State, kind: Kindred, deleted: set[str], content_type: str, source: str = ""
    ) -> None:
        super().__init__(state, kind, deleted)
        self._content_type = content_type
        self._source = source

    async def answered(self, request: Request) -> Response:
        return await MeshRoutes.create(self, request)

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        try:
            kept = self._kept(*self._asked(self._fields(body), owner))
            wanted = read_request(kept)
        except Refusal as refusal:
            if refusal.status != 422 or self.kind.detail_errors:
                raise
            raise Refusal(400, "invalid_request", refusal.message) from refusal
        # whatever the model is called, its seed counts and nothing is unknown of it
        family = replace(wanted.family, honours_seed=True, has_limits=True)
        return replace(wanted, family=family), kept

    def _asked(self, given: dict[str, Any], owner: str) -> tuple[dict[str, Any], str | None]:
        """The fields, with those of the video that is remixed, and its id. Raises Refusal."""
        if not self._source:
            return given, None
        source = self.found(self.inner(self._source), owner)
        if given.keys() != {"prompt"}:
            raise _invalid("prompt", "is what a remix takes, and nothing else")
        return {**_told(source)["given"], **given}, self.outer(source.id)

    def created(self, document: dict[str, Any]) -> dict[str, Any]:
        """The whole job; without an id where a fault takes that away."""
        task = self.service.store.find(document.get("id", "")) or self.service.store.newest()
        assert task is not None
        job = self._job(task)
        if "id" not in document:
            del job["id"]
        elif document["id"] != task.id:
            job["id"] = document["id"]
        return job

    def _fields(self, body: bytes) -> dict[str, Any]:
        """The fields of the body; a file is a data URI under its field's name. Raises Refusal."""
        media_type, _, rest = self._content_type.partition(";")
        match media_type.strip().lower():
            case "multipart/form-data":
                boundary = re.search(r'boundary="?([^";]+)"?', rest)
                if boundary is None:
                    raise _invalid("body", "the form has no boundary")
                return dict(_parts(body, boundary[1].encode()))
            case "application/json" if not self.kind.is_form_only:
                return read_json(body)
        raise Refusal(415, "unsupported_media_type", f"{media_type or 'no media type'} is not taken here")

    def _kept(self, given: dict[str, Any], remixed_from: str | None) -> bytes:
        """The body of the Mesh request for the same picture. Raises Refusal."""
        unknown = given.keys() - _COMMON - self.kind.fields
        if unknown:
            raise _invalid(min(unknown), "is not a parameter")
        prompt, model = given.get("prompt"), given.get("model", "sora-2")
        if not isinstance(prompt, str) or not 1 <= len(prompt) <= MOST_PROMPT:
            raise _invalid("prompt", f"must be text of 1 to {MOST_PROMPT} characters")
        if not isinstance(model, str):
            raise _invalid("model", "must be text")
        seconds, size = self._seconds(given), self._size(given)
        width, height = map(int, size.split("x"))
        divisor = math.gcd(width, height)
        whole = {name: _whole(name, given[name]) for name in _WHOLE & given.keys()}
        frames = whole.get("num_frames")
        fields: dict[str, Any] = {
            # a nought before it: the pixels count, not the table of a family
            "resolution": f"0{min(width, height)}p",
            "ratio": f"{width // divisor}:{height // divisor}",
            "generate_audio": _is_true(given.get("generate_audio", given.get("generate_sound"))),
            **({"duration": int(seconds)} if frames is None else {"frames": frames}),
            **({"seed": whole["seed"]} if "seed" in whole else {}),
        }
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        if url := _first_image(given):
            content.append({"type": "image_url", "image_url": {"url": url}, "role": "first_frame"})
        told = {
            "prompt": prompt,
            "size": size,
            "seconds": int(seconds) if self.kind.indexed else str(seconds),
            "remixed_from": remixed_from,
            "n": min(max(whole.get("n", 1), 1), 10),
            "given": given,
        }
        return json.dumps({"model": model, "content": content, **fields, "openai": told}).encode()

    def _seconds(self, given: Mapping[str, Any]) -> str:
        value = given.get("seconds", "4")
        is_json = not self._content_type.startswith("multipart/")
        wanted: type = str
        if self.kind.indexed:
            wanted = int if is_json else str
        if self.kind.name in ("any", "litellm") and isinstance(value, int):
            value = str(value)
        elif type(value) is not wanted and "seconds" in given:
            raise _invalid("seconds", f"must be of type {wanted.__name__}")
        if re.fullmatch("[1-9][0-9]{0,2}", str(value)) is None:
            raise _invalid("seconds", "must be a whole number of seconds")
        if self.kind.is_reference and str(value) not in ("4", "8", "12", "16", "20"):
            raise _invalid("seconds", "must be 4, 8, 12, 16 or 20")
        return str(value)

    def _size(self, given: Mapping[str, Any]) -> str:
        if "width" in given and "height" in given and "size" not in given:
            return f"{_whole('width', given['width'])}x{_whole('height', given['height'])}"
        size = given.get("size", "720x1280")
        if not isinstance(size, str) or re.fullmatch("[1-9][0-9]{1,3}x[1-9][0-9]{1,3}", size) is None:
            raise _invalid("size", "must be width and height, such as 1280x720")
        if self.kind.is_reference and size not in _REFERENCE_SIZES:
            raise _invalid("size", f"must be one of {', '.join(sorted(_REFERENCE_SIZES))}")
        return size


def _told(task: AcceptedTask) -> dict[str, Any]:
    found: dict[str, Any] = task.request["openai"]
    return found


_NAME = re.compile(rb'\bname="([^"]*)"')
_TYPE = re.compile(rb"^content-type:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


def _parts(body: bytes, boundary: bytes) -> dict[str, Any]:
    """The parts of a form by name; a file is a data URI, and of equal names the last counts."""
    found: dict[str, Any] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]:
        if part.startswith(b"--"):
            return found
        head, separator, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            break
        if b"filename=" in head:
            media_type = _TYPE.search(head)
            kind = media_type[1].decode("latin-1") if media_type else "application/octet-stream"
            found[name[1].decode("latin-1")] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        else:
            found[name[1].decode("latin-1")] = content.decode("utf-8", "replace")
    raise _invalid("body", "the form is not whole")


def _first_image(given: Mapping[str, Any]) -> str:
    """The URL of the picture to begin with, in whichever of the ways it was said. Raises Refusal."""
    reference = given.get("input_reference", given.get("image_reference"))
    if isinstance(reference, str) and reference.startswith("{"):
        try:
            reference = json.loads(reference)
        except ValueError:
            raise _invalid("input_reference", "is not JSON") from None
    if isinstance(reference, dict):
        reference = reference.get("image_url")
    url = given.get("input_reference[image_url]", given.get("reference_url", reference))
    if url is None:
        return ""
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:image/")):
        raise _invalid("input_reference", "must be an image or its URL")
    return url


def _whole(name: str, value: object) -> int:
    """A number of a form, or of JSON. Raises Refusal."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal():
        raise _invalid(name, "must be a whole number")
    if len(str(value)) > 10:
        raise _invalid(name, "is too large")
    return int(value)


def _number(text: str, name: str, least: int, most: int) -> int:
    if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise Refusal(400, "invalid_request", f"{name}: must be from {least} to {most}")
    return int(text)


def _is_true(value: object) -> bool:
    return value is True or value == "true"


def _invalid(name: str, message: str) -> Refusal:
    return Refusal(422, "invalid_request", f"{name}: {message}")
