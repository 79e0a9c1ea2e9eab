"""A TCP proxy on loopback that swallows answers: every n-th POST arrives, and nobody is told."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

from tests.support.wire_server import content_length

_BLOCK = 65_536
_TICK = 0.2
"""Seconds between two looks whether the test is over."""


class CuttingProxy:
    """Hands on bytes between clients and one server, but cuts every `every`-th POST.

    A cut POST is handed on whole; once the server answers, both connections are closed before one
    byte of the answer reaches the client. `posts` counts all POSTs, `cuts` those without an answer.
    """

    def __init__(self, port: int, every: int) -> None:
        self.posts = 0
        self.cuts = 0
        self._upstream = ("127.0.0.1", port)
        self._every = every
        self._over = threading.Event()
        self._count = threading.Lock()
        self._players: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(_TICK)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        self._over.set()
        for thread in (self._acceptor, *self._players):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._players.append(threading.Thread(target=self._play, args=(client,)))
                self._players[-1].start()

    def _play(self, client: socket.socket) -> None:
        # either side may break off at any moment: that is an end like another
        with client, contextlib.suppress(OSError), socket.create_connection(self._upstream) as server:
            request = b""
            while not self._over.is_set():
                ready, _, _ = select.select([client, server], [], [], _TICK)
                if server in ready:
                    answer = server.recv(_BLOCK)
                    if not answer:
                        return
                    client.sendall(answer)
                elif client in ready:
                    more = client.recv(_BLOCK)
                    if not more:
                        return
                    request += more
                    if not _is_whole(request):
                        continue
                    server.sendall(request)
                    if self._is_cut(request):
                        server.recv(1)  # the service has taken it: it answers
                        return
                    request = b""

    def _is_cut(self, request: bytes) -> bool:
        if not request.startswith(b"POST "):
            return False
        with self._count:
            self.posts += 1
            is_cut = self.posts % self._every == 0
            self.cuts += is_cut
        return is_cut


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= content_length(head)


@contextlib.contextmanager
def cutting_proxy(url: str, *, every: int) -> Iterator[CuttingProxy]:
    """A proxy before the loopback server at `url`."""
    proxy = CuttingProxy(int(url.rpartition(":")[2]), every)
    try:
        yield proxy
    finally:
        proxy.close()
