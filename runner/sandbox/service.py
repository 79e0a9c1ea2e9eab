"""The service itself: what it accepts, and what it says of each task as time passes."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import time
from collections import deque
from dataclasses import replace
from typing import Any

from runner.sandbox.config import SandboxConfig
from runner.sandbox.faults import Fault
from runner.sandbox.models import token_count
from runner.sandbox.results.files import Signer
from runner.sandbox.results.picture import FPS, Picture, scaled
from runner.sandbox.store import AcceptedTask, Selection, Store
from runner.sandbox.validation import Refusal, VideoRequest, read_json, read_request

VIOLATION_MARK = "[violate]"
"""A prompt that holds this fails with content_policy_violation."""

_QUEUED_SHARE = 0.25
_SEEDS = 2**31
_INHERITED = ("content", "generate_audio", "ratio", "duration", "frames", "camera_fixed", "watermark")
"""What a video made from a draft takes from the draft's request, unless it says otherwise."""


def owner_of(key: str) -> str:
    """How a key is remembered: the store holds no keys."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Service:
    """Used from one event loop; the store may be read from other threads."""

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        self.config = config
        self.store = store
        self.signer = Signer(store.secret("url"), config.url_ttl)
        self.base_url = ""
        self._requests: dict[str, deque[float]] = {}

    def wait_for_rate(self, owner: str) -> float:
        """Counts a request of this key; seconds to wait where it is one too many, else 0."""
        if not self.config.rpm:
            return 0.0
        now = time.monotonic()
        recent = self._requests.setdefault(owner, deque())
        while recent and recent[0] <= now - self.config.rate_window:
            recent.popleft()
        if len(recent) >= self.config.rpm:
            return recent[0] + self.config.rate_window - now
        recent.append(now)
        return 0.0

    def read(self, body: bytes, owner: str) -> VideoRequest:
        """The request of a POST, a draft's settings filled in. Raises Refusal."""
        request = read_request(body)
        if request.draft_task_id is None:
            return request
        draft = self._find_draft(request.draft_task_id, owner)
        given = {name: value for name, value in read_json(body).items() if value is not None}
        inherited = {name: draft.request[name] for name in _INHERITED if draft.request.get(name) is not None}
        if "duration" in given or "frames" in given:
            inherited.pop("duration", None)
            inherited.pop("frames", None)
        sizes = request.family.final_resolutions
        size = {"resolution": sizes[0]} if sizes else {}
        merged = {**inherited, **size, **given, "content": inherited["content"]}
        if given.get("seed") is None:
            merged["seed"] = draft.take
        return replace(read_request(json.dumps(merged).encode()), draft_task_id=draft.id)

    def _find_draft(self, task_id: str, owner: str) -> AcceptedTask:
        draft = self.find(task_id, owner)
        if draft is None or not draft.echo["draft"] or draft.status_at(time.time()) != "succeeded":
            raise Refusal(
                422, "validation_error", f"draft_task {task_id}: no finished draft of yours", "content"
            )
        return draft

    def refuse_spending(self) -> bool:
        cap = self.config.spend_cap
        return cap is not None and self.store.count >= cap

    def accept(
        self,
        request: VideoRequest,
        body: bytes,
        owner: str,
        forced: Fault | None = None,
        id_prefix: str = "t-",
    ) -> AcceptedTask:
        """Takes the task on and makes it durable. `forced` decides how it ends."""
        ordinal = self.store.next_ordinal
        now = time.time()
        chance = random.Random(f"{self.config.seed}/{ordinal}")
        life = chance.uniform(*self.config.latency)
        outcome, code, message = "succeeded", "", ""
        if forced is not None:
            outcome, code, message = forced.text or "failed", forced.code, forced.message
        elif VIOLATION_MARK in request.prompt:
            outcome, code, message = (
                "failed",
                "content_policy_violation",
                "the prompt violates the content policy",
            )
        elif life > request.execution_expires_after:
            life = request.execution_expires_after
            outcome, code, message = "expired", "task_expired", "not finished within execution_expires_after"
        take = self._take(request)
        task = AcceptedTask(
            ordinal=ordinal,
            id=f"{id_prefix}{secrets.token_hex(10)}",
            owner=owner,
            model=request.model,
            digest=request.digest,
            take=take,
            echo=_echo(request, take),
            created_at=now,
            running_at=now + life * _QUEUED_SHARE,
            finished_at=now + life,
            outcome=outcome,
            error_code=code,
            error_message=message,
            shown_at=now,
            body=body,
        )
        self.store.add(task)
        return task

    def _take(self, request: VideoRequest) -> int:
        """The seed to render with: the one sent, where it is honoured, else one that the service picks.

        What it picks depends on how many equal requests came before, not on the order among
        different ones, so that a rehearsal gives the same videos each time.
        """
        if request.seed is not None and request.family.honours_seed:
            return request.seed
        before = self.store.taken(request.digest)
        return random.Random(f"{self.config.seed}/{request.digest}/{before}").randrange(_SEEDS)

    def find(self, task_id: str, owner: str) -> AcceptedTask | None:
        task = self.store.find(task_id)
        if task is None or (task.owner != owner and not self.config.shared_list):
            return None
        return task

    def end(self, task: AcceptedTask, outcome: str) -> AcceptedTask:
        """The task, ended now as `outcome`; as it is where it has ended already."""
        now = time.time()
        if now < task.finished_at:
            self.store.end(task.id, outcome, now)
            task = replace(task, outcome=outcome, finished_at=now)
        return self.refresh(task)

    def refresh(self, task: AcceptedTask) -> AcceptedTask:
        """The task as it is now; lists will say the same from here on."""
        now = time.time()
        status = task.status_at(now)
        if status == task.shown_status:
            return task
        at = task.changed_at(status)
        self.store.show(task.id, status, at)
        return replace(task, shown_status=status, shown_at=at)

    def page(self, selection: Selection, limit: int, offset: int) -> tuple[tuple[AcceptedTask, ...], int]:
        return self.store.page(selection, limit, offset), self.store.total(selection)

    def view(self, task: AcceptedTask) -> dict[str, Any]:
        """The Task object of wire/mesh-api.md, as the service's database has it."""
        succeeded = task.shown_status == "succeeded"
        failed = task.shown_status not in ("queued", "running", "succeeded")
        document: dict[str, Any] = {
            "id": task.id,
            "model": task.model,
            "status": task.shown_status,
            "error": {"code": task.error_code, "message": task.error_message} if failed else None,
            "created_at": int(task.created_at),
            "updated_at": int(task.shown_at),
            "content": self._urls(task) if succeeded else None,
            **{name: value for name, value in task.echo.items() if name not in _HIDDEN},
            "usage": None,
        }
        if succeeded:
            tokens = task.echo["tokens"]
            document["usage"] = {"completion_tokens": tokens, "total_tokens": tokens}
        return document

    def _urls(self, task: AcceptedTask) -> dict[str, str | None]:
        now = time.time()
        video = self.base_url + self.signer.path(task.id, "video.mp4", now)
        last = self.base_url + self.signer.path(task.id, "last_frame.png", now)
        return {"video_url": video, "last_frame_url": last if task.echo["with_last_frame"] else None}

    def picture(self, task: AcceptedTask, number: int = 0) -> Picture:
        """What to render as this task's result `number`; it reads the body again: call it in a thread."""
        request = self.read(task.body, task.owner)
        width, height = scaled(request.size, self.config.scale)
        return Picture(
            digest=request.digest,
            seed=task.take + number,
            label=str(task.echo["seed"] if task.echo["seed"] is not None else task.take),
            prompt=request.prompt,
            width=width,
            height=height,
            frames=request.frame_count,
            sound=request.generate_audio,
            opening=request.first.data if request.first else None,
            closing=request.last.data if request.last else None,
        )

    def file_key(self, task: AcceptedTask, number: int = 0) -> str:
        """A name for what `picture` gives, without reading the request again."""
        parts = (task.digest, task.take + number, task.echo["seed"], self.config.scale)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


_HIDDEN = frozenset({"tokens", "with_last_frame"})


def _echo(request: VideoRequest, take: int) -> dict[str, Any]:
    """The echoed fields, always at nominal size; the hidden ones are the sandbox's own notes."""
    return {
        "seed": take if request.family.honours_seed else request.seed,
        "resolution": request.resolution,
        "ratio": request.ratio,
        "duration": request.duration,
        "frames": request.frames,
        "framespersecond": FPS,
        "generate_audio": request.generate_audio,
        "safety_identifier": request.safety_identifier,
        "priority": request.priority,
        "draft": request.draft,
        "draft_task_id": request.draft_task_id,
        "service_tier": request.service_tier,
        "execution_expires_after": request.execution_expires_after,
        "tokens": token_count(request.frame_count, *request.size),
        "with_last_frame": request.return_last_frame,
    }


ECHOED = (
    "seed",
    "resolution",
    "ratio",
    "duration",
    "frames",
    "framespersecond",
    "generate_audio",
    "safety_identifier",
    "priority",
    "draft",
    "draft_task_id",
    "service_tier",
    "execution_expires_after",
)
