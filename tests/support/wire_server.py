"""A scriptable TCP server on loopback: each connection is played by a function of the test.

It runs on threads with blocking sockets, so that one server serves both event loops and can do
what no HTTP library does: reset, cut, stall, drip, or say nothing that is HTTP.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping

_PATIENCE = 5.0
"""Seconds after which a connection whose client never comes is given up."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self._sock = sock
        self._over = over
        self._unread = b""

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer where the client closes."""
        data, self._unread = self._unread[:count], self._unread[count:]
        while len(data) < count and (more := self._sock.recv(count - len(data))):
            data += more
        return data

    def read_request(self) -> bytes:
        """One whole request, head and body; empty where the client closes instead."""
        data = self._unread
        while b"\r\n\r\n" not in data:
            more = self._sock.recv(65_536)
            if not more:
                return b""
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        length = content_length(head)
        while len(rest) < length and (more := self._sock.recv(65_536)):
            rest += more
        self._unread = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def drip(self, data: bytes, every: float) -> None:
        """One byte at a time, `every` seconds, until the test is over."""
        for byte in data:
            if self._over.wait(every):
                return
            self._sock.sendall(bytes([byte]))

    def stall(self) -> None:
        """Nothing at all until the test is over."""
        self._over.wait(_PATIENCE)

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


Script = Callable[[Peer], None]


class WireServer:
    """A running server: where it is, the requests that it has read whole, and how it is ended."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None, receive_buffer: int) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._players: list[threading.Thread] = []
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        scheme = "http" if tls is None else "https"
        self.origin = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        self._over.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # close alone does not wake a blocked accept or recv
        self._acceptor.join()
        self._listener.close()
        for player in self._players:
            player.join()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(_PATIENCE)
            self.connections += 1
            self._open.append(sock)
            self._players.append(threading.Thread(target=self._play, args=(sock,)))
            self._players[-1].start()

    def _play(self, sock: socket.socket) -> None:
        # the client may break off at any moment: that is what the tests are about
        with contextlib.suppress(OSError), contextlib.closing(sock):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with contextlib.closing(sock):
                self._script(Peer(sock, self._over))


def answer(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """The bytes of an HTTP answer; `body` is bytes, or a value to be sent as JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(payload) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


@contextlib.contextmanager
def serve(
    script: Script, *, tls: ssl.SSLContext | None = None, receive_buffer: int = 0
) -> Iterator[WireServer]:
    """Plays `script` on every connection. `receive_buffer` (bytes) makes a client's writes block early."""
    server = WireServer(script, tls, receive_buffer)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[WireServer]:
    """A server that reads whole requests and gives these answers in order, the last one for ever."""
    turn = itertools.count()

    def script(peer: Peer) -> None:
        while request := peer.read_request():
            server.requests.append(request)
            peer.send(answers[min(next(turn), len(answers) - 1)])

    with serve(script) as server:
        yield server
