"""What other services' official clients read and send, over the same canned tasks (benchmarks/server.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.server import Service

GETIMG = "/v2/videos/generations"
OPENAI = "/v1/videos"
REPLICATE = "/v1/predictions"


def create(service: Service, path: str) -> dict[str, object]:
    """The answer to a POST; the request's body does not matter."""
    return _shown(service, path, service.begin({}), is_done=False)


def look(service: Service, path: str) -> dict[str, object]:
    name = path.rpartition("/")[2]
    return _shown(service, path, name, is_done=service.is_done(name))


def _shown(service: Service, path: str, name: str, *, is_done: bool) -> dict[str, object]:
    url, own = service.result(name), f"{service.url}{REPLICATE}/{name}"
    if path.startswith(GETIMG):
        files = [{"url": url, "mime_type": "video/mp4", "deletes_at": "2099-01-01T00:00:00Z"}]
        done = {"status": "completed", "model": "seedance-v1-pro", "data": files}
        return {"id": name, **(done if is_done else {"status": "pending"})}
    if path.startswith(OPENAI):
        return {
            "id": name,
            "object": "video",
            "model": "sora-2",
            "created_at": 0,
            "seconds": "4",
            "size": "1280x720",
            "progress": 100 if is_done else 0,
            "status": "completed" if is_done else "in_progress",
        }
    return {
        "id": name,
        "model": "bytedance/seedance-1-pro",
        "version": "hidden",
        "status": "succeeded" if is_done else "processing",
        "input": {},
        "output": url if is_done else None,
        "logs": "",
        "error": None,
        "metrics": {},
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": None,
        "completed_at": None,
        "urls": {
            "get": own,
            "cancel": f"{own}/cancel",
        },
    }
