"""A proxy between a ledger and its PostgreSQL that does one thing wrong, at one message."""

from __future__ import annotations

import enum
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


class Fault(enum.StrEnum):
    """What happens to a message of the client."""

    BEFORE = "before"
    """The connection is cut, and the server hears nothing of it."""
    WITHIN = "within"
    """The server gets half of it."""
    AFTER = "after"
    """The server does it, and its answer is lost with the connection."""
    LATE = "late"
    """The client's connection is cut, and the server gets the message later."""
    SWALLOWED = "swallowed"
    """The server does it, and the client waits for an answer on an open connection."""


@dataclass(slots=True)
class Proxy:
    """`at` counts the client's messages from `arm` on; after the fault all goes well."""

    upstream: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    fault: Fault | None = None
    at: int = 0
    has_struck: bool = False
    late: float = 0.2
    is_down: bool = False
    """Refuses every connection from the fault on."""
    goes_down: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def arm(self, fault: Fault, at: int, *, goes_down: bool = False) -> None:
        self.fault, self.at, self.has_struck, self.goes_down = fault, at, False, goes_down

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.upstream))
            self._sockets += [client, server]
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server), daemon=True).start()

    def close(self) -> None:
        for each in [self.listener, *self._sockets]:
            _cut(each)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                fault = self._next_fault()
                if fault is not None:
                    self._strike(fault, data, client, server)
                    return
                server.sendall(data)
        _cut(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.has_struck and client in self._muted:
                    continue
                client.sendall(data)
        _cut(client)

    _muted: list[socket.socket] = field(default_factory=list)

    def _next_fault(self) -> Fault | None:
        fault = self.fault
        if fault is None:
            return None
        self.at -= 1
        if self.at >= 0:
            return None
        self.fault, self.has_struck = None, True
        self.is_down = self.goes_down
        return fault

    def _strike(self, fault: Fault, data: bytes, client: socket.socket, server: socket.socket) -> None:
        self._muted.append(client)
        if fault is Fault.BEFORE:
            _cut(client)
            _cut(server)
        elif fault is Fault.WITHIN:
            server.sendall(data[: len(data) // 2])
            _cut(client)
            _cut(server)
        elif fault is Fault.AFTER:
            server.sendall(data)
            threading.Event().wait(0.03)
            _cut(client)
            _cut(server)
        elif fault is Fault.LATE:
            _cut(client)
            threading.Event().wait(self.late)
            with suppress(OSError):
                server.sendall(data)
                threading.Event().wait(0.03)
            _cut(server)
        else:
            server.sendall(data)


def _cut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def running(upstream: int) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
