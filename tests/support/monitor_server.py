"""What `--monitor` tells is heard by a real HTTP server."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

SECRET = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


@dataclass(slots=True)
class MonitorServer:
    """A real HTTP server that keeps what it was sent."""

    url: str
    status: int = 200
    heard: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def monitor_server() -> Iterator[MonitorServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.heard.append((self.path, body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = MonitorServer(f"http://127.0.0.1:{server.server_port}/{SECRET}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()
