"""The server of `echoing_service`: it counts what it accepted, and keeps what it was sent."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.echoing_service import FILMS, UPLOADS


@dataclass(slots=True)
class EchoingServer:
    """`cuts` are the POSTs to come that are accepted, or not, and then cut without an answer. A film is ready
    at once, but not before so many POSTs as `queued_until`.
    """

    clip: bytes
    url: str = ""
    films: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    refused_uploads: int = 0
    posts: int = 0
    lists: int = 0
    page: int = 2
    queued_until: int = 0
    forgets_inputs: bool = False
    unlisted: set[int] = field(default_factory=set)
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What it shows of the input of a film in place of what was sent, by the film's number."""
    told: list[tuple[str, str]] = field(default_factory=list)
    """(path, Authorization) of each request."""

    def accept(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": f"film+{len(self.films)}/=",
            "status": "running",
            "model": body.pop("model"),
            "input": body,
            "created_at": time.time(),
        }
        self.films.append(made)
        return made

    def shown(self, film: dict[str, Any]) -> dict[str, Any]:
        shown = dict(film)
        if self.posts < self.queued_until:
            shown["status"] = "queued"
        else:
            shown |= {"status": "succeeded", "film": f"{self.url}/files/{self.films.index(film)}.mp4"}
        shown["input"] = film["input"] | self.changes.get(self.films.index(film), {})
        if self.forgets_inputs:
            shown["input"] = {}
        return shown


@contextlib.contextmanager
def echoing_server(clip: bytes) -> Iterator[EchoingServer]:
    state = EchoingServer(clip)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at what was told."""

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            state.told.append((self.path, self.headers.get("Authorization", "")))
            if self.path == UPLOADS:
                if state.refused_uploads:
                    state.refused_uploads -= 1
                    return self.answer(503, {"error": {"code": "busy", "message": "later"}})
                state.uploads.append(content)
                return self.answer(201, {"url": f"{state.url}/in/{len(state.uploads)}?sig=canary"})
            state.posts += 1
            is_accepted = state.cuts.pop(0) if state.cuts else None
            film = state.accept(json.loads(content)) if is_accepted is not False else {}
            if is_accepted is not None:
                self.close_connection = True
                return None
            status_url = f"{state.url}/status/{len(state.films) - 1}?token=canary-handle"
            return self.answer(200, {"id": film["id"], "status_url": status_url})

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            state.told.append((target.path, self.headers.get("Authorization", "")))
            if target.path.startswith("/files/"):
                return self.answer(200, state.clip)
            if target.path == FILMS:
                state.lists += 1
                begin = int(parse_qs(target.query).get("cursor", ["0"])[0])
                shown = [film for number, film in enumerate(state.films) if number not in state.unlisted]
                newest = [*reversed(shown)]
                page = newest[begin : begin + state.page]
                after = begin + len(page)
                listed = [state.shown(film) for film in page]
                return self.answer(
                    200, {"films": listed, "next": str(after) if after < len(newest) else None}
                )
            for number, film in enumerate(state.films):
                if target.path in (f"{FILMS}/film%2B{number}%2F%3D", f"/status/{number}"):
                    return self.answer(200, state.shown(film))
            return self.answer(404, {"error": {"code": "not_found", "message": "no such film"}})

        def answer(self, status: int, body: object) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
