"""A CONNECT proxy on loopback, and a server that takes TLS off for a plain one."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

_BLOCK = 65_536
_TICK = 0.1
"""Seconds between two looks whether the test is over."""


class _Server:
    """Plays each connection on a thread of its own until the `with` block ends."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._players: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(_TICK)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        self._over.set()
        for thread in (self._acceptor, *self._players):
            thread.join()
        self._listener.close()

    def play(self, client: socket.socket) -> None:
        raise NotImplementedError

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._players.append(threading.Thread(target=self._play, args=(client,)))
                self._players[-1].start()

    def _play(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            self.play(client)

    def relay(
        self, client: socket.socket, server: socket.socket, *, is_cut: Callable[[int], bool] = lambda _: False
    ) -> None:
        """Hands bytes on in both directions; ends where `is_cut` says so of the bytes sent so far."""
        sent = 0
        while not self._over.is_set():
            waiting = [one for one in (client, server) if isinstance(one, ssl.SSLSocket) and one.pending()]
            ready = waiting or select.select([client, server], [], [], _TICK)[0]
            for source in ready:
                data = source.recv(_BLOCK)
                if not data:
                    return
                if source is client:
                    sent += len(data)
                    if is_cut(sent):
                        return
                (server if source is client else client).sendall(data)


class ConnectProxy(_Server):
    """Leads every tunnel to `to`. `targets` are the hosts that were asked for, `heads` the whole requests.

    `answer` is given in place of a tunnel; `user_info` is asked for; the tunnel is cut, with nothing handed
    on, by the read that `is_cut` says so of.
    """

    def __init__(
        self,
        to: tuple[str, int],
        *,
        answer: bytes | None = None,
        user_info: str = "",
        is_cut: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.targets: list[str] = []
        self.heads: list[bytes] = []
        self._to = to
        self._answer = answer
        self._user_info = user_info
        self._is_cut = is_cut
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(_BLOCK)
            if not more:
                return
            head += more
        self.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert method == "CONNECT"
        self.targets.append(target)
        wanted = b"basic " + base64.b64encode(self._user_info.encode())
        if self._user_info and wanted.lower() not in head.lower():
            client.sendall(b"HTTP/1.1 407 Say Who\r\nContent-Length: 0\r\n\r\n")
        elif self._answer is not None:
            client.sendall(self._answer)
        else:
            with socket.create_connection(self._to) as server:
                client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                self.relay(client, server, is_cut=self._is_cut)


class TlsFront(_Server):
    """Speaks TLS in front of a plain server on loopback."""

    def __init__(self, tls: ssl.SSLContext, port: int) -> None:
        self._tls = tls
        self._server = ("127.0.0.1", port)
        super().__init__()

    def play(self, client: socket.socket) -> None:
        with (
            self._tls.wrap_socket(client, server_side=True) as inner,
            socket.create_connection(self._server) as server,
        ):
            self.relay(inner, server)


@contextlib.contextmanager
def proxy_to(
    host: str,
    port: int,
    *,
    answer: bytes | None = None,
    user_info: str = "",
    is_cut: Callable[[int], bool] = lambda _: False,
) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy((host, port), answer=answer, user_info=user_info, is_cut=is_cut)
    with contextlib.closing(proxy):
        yield proxy
