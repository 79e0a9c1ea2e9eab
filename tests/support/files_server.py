"""A raw file server on loopback: it answers byte for byte what a test tells it to."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived: `target` byte-exact, header names in lower case."""

    target: str
    headers: Mapping[str, str]


class Connection:
    """The server's end of one connection; it carries one request and is closed then."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def head(self, status: int, headers: Mapping[str, object]) -> None:
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
        self.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def drip(self, data: bytes, every: float) -> None:
        for index in range(len(data)):
            self.send(data[index : index + 1])
            time.sleep(every)

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def wait_for_close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.recv(1)


Answer = Callable[[Seen, Connection], None]


class FilesServer:
    """A context manager. The nth request gets the nth answer, every later one the last.

    With a `tls` context it speaks TLS.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self.seen: list[Seen] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    target = self.rfile.readline().decode().split(" ")[1]
                except OSError:
                    # a client that does not trust our certificate
                    return
                pairs = (line.decode().strip().partition(":") for line in iter(self.rfile.readline, b"\r\n"))
                seen = Seen(target, {name.lower(): value.strip() for name, _, value in pairs})
                outer.seen.append(seen)
                answer = outer.answers[min(len(outer.seen), len(outer.answers)) - 1]
                # a client that hangs up is what many tests are about
                with contextlib.suppress(OSError):
                    answer(seen, Connection(self.connection))

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that ends early is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            # the handshake belongs into the connection's own thread
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    def url(self, target: str = "/clip.mp4?signature=canary-secret") -> str:
        return f"http://127.0.0.1:{self.port}{target}"

    def __enter__(self) -> FilesServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def file(
    content: bytes,
    *,
    etag: str = '"v1"',
    media_type: str = "video/mp4",
    ranges: bool = True,
    cut_at: int | None = None,
    reset: bool = False,
    **more: object,
) -> Answer:
    """`content` as an object store serves it; of an answer only the first `cut_at` body bytes."""

    def answer(seen: Seen, wire: Connection) -> None:
        headers: dict[str, object] = {"Content-Type": media_type, **({"ETag": etag} if etag else {}), **more}
        asked = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
        start = int(asked[1]) if asked and ranges and seen.headers.get("if-range") == etag else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        wire.head(206 if start else 200, {**headers, "Content-Length": len(content) - start})
        wire.send(content[start:] if cut_at is None else content[start : start + cut_at])
        if reset:
            # or the client's kernel throws away what it has not read yet
            time.sleep(0.02)
            wire.reset()

    return answer


def status(code: int, body: bytes = b"no", **headers: object) -> Answer:
    """A short answer with this status; underscores in header names stand for dashes."""

    def answer(_: Seen, wire: Connection) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        wire.head(code, {"Content-Length": len(body), **named})
        wire.send(body)

    return answer
