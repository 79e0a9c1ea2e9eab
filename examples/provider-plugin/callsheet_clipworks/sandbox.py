"""Clipworks' side of a rehearsal: its calls, over the sandbox's tasks, faults and pictures."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer
from runner.sandbox.faults import Struck
from runner.sandbox.mesh import MeshRoutes
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask
from runner.sandbox.validation import VideoRequest, read_json, read_request

STATES = {"queued": "waiting", "running": "making", "succeeded": "ready"}
USD_A_SECOND = 0.04


def clipworks_routes(state: State) -> list[Route]:
    clipworks = ClipworksRoutes(state)
    return [
        Route("/v1/clips", clipworks.create, methods=["POST"]),
        Route("/v1/clips/{task_id}", clipworks.get, methods=["GET"]),
        Route("/v1/account", clipworks.account, methods=["GET"]),
    ]


class ClipworksRoutes(MeshRoutes):
    accepted_status = 201
    id_prefix = "clip-"
    owner_prefix = "clipworks:"

    def takes_key(self, key: str) -> bool:
        return bool(key)

    def read(self, body: bytes, owner: str) -> tuple[VideoRequest, bytes]:
        """Kept is the request of Mesh for the same picture, which the sandbox can draw."""
        clip = read_json(body)
        kept = {
            "model": clip.get("model"),
            "content": [{"type": "text", "text": clip.get("prompt")}],
            "ratio": clip.get("shape", "16:9"),
            "duration": clip.get("seconds", 5),
        }
        encoded = json.dumps(kept).encode()
        return read_request(encoded), encoded

    def shown(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        told = super().shown(task, struck)
        is_ready = told["status"] == "succeeded"
        return {
            "id": told["id"],
            "state": STATES.get(told["status"], "broken"),
            "film_url": told["content"]["video_url"] if is_ready else None,
            "error": told["error"],
            "price_usd": round(told["duration"] * USD_A_SECOND, 2) if is_ready else None,
        }

    async def account(self, _: Request) -> Response:
        return answer({"name": "rehearsal"})
