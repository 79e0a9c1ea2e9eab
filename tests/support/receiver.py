"""A server that a webhook calls."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Keeps the payloads that come in."""

    def __init__(self) -> None:
        self._received: queue.Queue[dict[str, Any]] = queue.Queue()
        received = self._received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(204)
                self.end_headers()
                received.put(json.loads(content))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self) -> dict[str, Any]:
        return self._received.get(timeout=60)

    def is_empty_after(self, seconds: float = 0.05) -> bool:
        try:
            self._received.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
