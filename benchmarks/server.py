"""A canned Mesh API that answers as fast as asyncio can: nothing is rendered, stored or checked.

A task is `running` for `looks` looks and then `succeeded`; with `--durations` for as long as the next of them
says, in seconds of a time that goes `--speed` times faster (benchmarks/hurry.py). Every result is the same
file. It runs in a process of its own: `python -m benchmarks.server` prints its URL once it accepts
connections, and `GET /bench` tells what it has answered and used (measure.Served).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from benchmarks import dialects, hurry
from benchmarks.clip import make_clip

PATH = "/v1/video/generations"
RESULT = "/result/"
_PART = 1 << 18


class Service:
    """What the connections share: the file, and how far each task is."""

    def __init__(
        self,
        size: int,
        looks: int,
        durations: Sequence[float] = (),
        now: Callable[[], float] = time.time,
        uncounted: int = 0,
    ) -> None:
        """`durations` in seconds by the clock `now`, one for each task in the order of their submits.

        The account begins after `uncounted` tasks.
        """
        self.file = make_clip(size)
        self.looks = looks
        self.durations = durations
        self.now = now
        self.uncounted = uncounted
        self.url = ""
        self.counts = Counter[str]()
        self.submitted_at = 0.0
        self.fetched_at = 0.0
        self.tasks: dict[str, Task] = {}

    def create(self, body: bytes) -> dict[str, object]:
        request = json.loads(body)
        return {"id": self.begin({field: request.get(field) for field in _ECHOED})}

    def begin(self, echo: dict[str, object]) -> str:
        if len(self.tasks) == self.uncounted:
            self.submitted_at = time.time()
            self.counts.clear()
        self.counts["submits"] += 1
        name = f"t-{len(self.tasks):08}"
        ends_at = self.now() + self.durations[len(self.tasks)] if self.durations else 0.0
        self.tasks[name] = Task(echo, self.now(), ends_at)
        return name

    def is_done(self, name: str) -> bool:
        """Counts as a look."""
        task = self.tasks[name]
        task.looks += 1
        return task.looks > self.looks and self.now() >= task.ends_at

    def result(self, name: str) -> str:
        return f"{self.url}{RESULT}{name}.mp4?signature=0"

    def look(self, name: str) -> dict[str, object]:
        is_done, task = self.is_done(name), self.tasks[name]
        updated = task.ends_at or self.now()
        shown = {"id": name, "error": None, "created_at": int(task.created_at), **task.echo}
        if not is_done:
            return {**shown, "updated_at": int(task.created_at), "status": "running", "content": None}
        return {
            **shown,
            "updated_at": int(updated),
            "status": "succeeded",
            "content": {"video_url": self.result(name)},
            "usage": {"completion_tokens": 1, "total_tokens": 1},
        }

    def page(self) -> dict[str, object]:
        total = len(self.tasks)
        return {"object": "list", "data": [], "has_more": False, "total": total, "limit": 1, "offset": 0}

    def account(self) -> dict[str, object]:
        return {
            "cpu": time.process_time(),
            "counts": self.counts,
            "submitted_at": self.submitted_at,
            "fetched_at": self.fetched_at,
        }


_ECHOED = ("model", "seed", "execution_expires_after")


@dataclass(slots=True)
class Task:
    echo: dict[str, object]
    created_at: float
    ends_at: float
    looks: int = 0


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
        if path.startswith(RESULT):
            service.counts["results"] += 1
            service.fetched_at = time.time()
            self._send("200 OK", "video/mp4", service.file, f'ETag: "{path}"\r\nAccept-Ranges: bytes\r\n')
        elif path == "/bench":
            self._send_json(service.account())
        elif method == "POST":
            self._send_json(service.create(body) if path == PATH else dialects.create(service, path))
        elif path == PATH:
            service.counts["lists"] += 1
            self._send_json(service.page())
        else:
            service.counts["looks"] += 1
            name = path.rpartition("/")[2]
            self._send_json(service.look(name) if path.startswith(PATH) else dialects.look(service, path))

    def _send_json(self, document: dict[str, object]) -> None:
        self._send("200 OK", "application/json", json.dumps(document).encode(), "")

    def _send(self, status: str, kind: str, body: bytes, more: str) -> None:
        head = (
            f"HTTP/1.1 {status}\r\nDate: {_date(self._service.now)}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        self._transport.write(head.encode())
        self._rest = memoryview(body)
        self._pump()


_shown: tuple[int, str] = (0, "")


def _date(clock: Callable[[], float]) -> str:
    global _shown
    now = int(clock())
    if _shown[0] != now:
        _shown = (now, formatdate(now, usegmt=True))
    return _shown[1]


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    return int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve(service: Service) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(service.url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=0)
    parser.add_argument("--durations", type=json.loads, default=[])
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--epoch", type=float, default=0.0)
    parser.add_argument("--uncounted", type=int, default=0)
    given = parser.parse_args()
    now = hurry.clock(given.speed, given.epoch)
    asyncio.run(_serve(Service(given.size, given.looks, given.durations, now, given.uncounted)))
