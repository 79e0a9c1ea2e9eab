"""A canned Mesh API that answers as fast as asyncio can: nothing is rendered, stored or checked.

A task is `running` for `looks` looks and then `succeeded`; every result is the same file. It runs
in a process of its own: `python -m benchmarks.server` prints its URL once it accepts connections,
and `GET /bench` tells how much CPU time it has used, how many requests it has answered, and when the
first submit came (Unix seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from email.utils import formatdate

from benchmarks.clip import make_clip

PATH = "/v1/video/generations"
RESULT = "/result/"
_PART = 1 << 18


class Service:
    """What the connections share: the file, and how far each task is."""

    def __init__(self, size: int, looks: int) -> None:
        self.file = make_clip(size)
        self.looks = looks
        self.url = ""
        self.answered = 0
        self.submitted_at = 0.0
        self.tasks: dict[str, tuple[dict[str, object], int]] = {}

    def create(self, body: bytes) -> dict[str, object]:
        self.submitted_at = self.submitted_at or time.time()
        request = json.loads(body)
        name = f"t-{len(self.tasks):08}"
        echo = {field: request.get(field) for field in ("model", "seed", "execution_expires_after")}
        self.tasks[name] = (echo, 0)
        return {"id": name}

    def look(self, name: str) -> dict[str, object]:
        echo, looks = self.tasks[name]
        self.tasks[name] = (echo, looks + 1)
        now = int(time.time())
        task = {"id": name, "error": None, "created_at": now, "updated_at": now, **echo}
        if looks < self.looks:
            return {**task, "status": "running", "content": None}
        return {
            **task,
            "status": "succeeded",
            "content": {"video_url": f"{self.url}{RESULT}{name}.mp4?signature=0"},
            "usage": {"completion_tokens": 1, "total_tokens": 1},
        }

    def page(self) -> dict[str, object]:
        total = len(self.tasks)
        return {"object": "list", "data": [], "has_more": False, "total": total, "limit": 1, "offset": 0}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, and no more of it than the clients here use."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pending = b""
        self._rest = memoryview(b"")
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._pump()

    def _pump(self) -> None:
        """Hands a body over as the client takes it: whole, asyncio would copy all of it first."""
        while self._rest and not self._is_full:
            part, self._rest = self._rest[:_PART], self._rest[_PART:]
            self._transport.write(part)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            length = _content_length(head)
            if len(self._pending) < end + 4 + length:
                return
            body = self._pending[end + 4 : end + 4 + length]
            self._pending = self._pending[end + 4 + length :]
            method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
            self._answer(method, target.partition("?")[0], body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        service = self._service
        service.answered += 1
        if path.startswith(RESULT):
            self._send("200 OK", "video/mp4", service.file, f'ETag: "{path}"\r\nAccept-Ranges: bytes\r\n')
        elif path == "/bench":
            self._send_json(
                {
                    "cpu": time.process_time(),
                    "answered": service.answered,
                    "submitted_at": service.submitted_at,
                }
            )
        elif method == "POST":
            self._send_json(service.create(body))
        elif path == PATH:
            self._send_json(service.page())
        else:
            self._send_json(service.look(path.rpartition("/")[2]))

    def _send_json(self, document: dict[str, object]) -> None:
        self._send("200 OK", "application/json", json.dumps(document).encode(), "")

    def _send(self, status: str, kind: str, body: bytes, more: str) -> None:
        head = (
            f"HTTP/1.1 {status}\r\nDate: {_date()}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        self._transport.write(head.encode())
        self._rest = memoryview(body)
        self._pump()


_shown: tuple[int, str] = (0, "")


def _date() -> str:
    global _shown
    now = int(time.time())
    if _shown[0] != now:
        _shown = (now, formatdate(now, usegmt=True))
    return _shown[1]


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    return int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve(size: int, looks: int) -> None:
    service = Service(size, looks)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(service.url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(_serve(given.size, given.looks))
