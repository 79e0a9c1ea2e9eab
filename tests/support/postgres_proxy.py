"""A TCP proxy on loopback before a PostgreSQL server: it knows where a statement ends, and breaks there.

A statement is what the client sends before it waits for an answer: a simple query, or messages of the
extended protocol up to Sync. Its answer ends with ReadyForQuery.
"""

from __future__ import annotations

import contextlib
import enum
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_BLOCK = 65_536
_TICK = 0.2
"""Seconds between two looks whether the test is over."""
_NO_TLS = frozenset({80_877_103, 80_877_104})
"""Requests for TLS and for GSS encryption, which are answered with one byte."""
_MOST_SECONDS = 30.0


class Break(enum.StrEnum):
    """What becomes of one statement, its connection and its answer."""

    BEFORE = "cut before a statement"
    """It never reaches the server; both sides are closed."""
    WITHIN = "cut within a statement"
    """The server gets half of it."""
    AFTER = "cut after a statement"
    """The server has carried it out; both sides are closed without its answer."""
    LATE = "cut with a statement on its way"
    """The client's side is closed; the statement reaches the server `seconds` later."""
    HELD = "answer held back"
    """The answer comes `seconds` later, and all that follows it."""
    LOST = "answers dropped"
    """No answer comes on this connection any more, and it stays open."""


@dataclass(slots=True)
class Strike:
    """Breaks the `nth` statement whose text matches `text`, in a transaction that had one like `within`.

    `meanwhile` is called when it strikes, before anything else happens.
    """

    kind: Break
    nth: int = 1
    text: str = ""
    within: str = ""
    seconds: float = 0.0
    meanwhile: Callable[[], object] = lambda: None
    has_struck: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0

    def meets(self, text: str, earlier: str) -> bool:
        if self.has_struck.is_set() or not re.search(self.text, text, re.I):
            return False
        if self.within and not re.search(self.within, earlier, re.I):
            return False
        self._seen += 1
        return self._seen == self.nth


class PostgresProxy:
    """Hands on bytes between clients and one server, but for the statements that a strike meets."""

    def __init__(self, port: int) -> None:
        self.statements = 0
        self.is_down = False
        """Every new connection is closed at once."""
        self.struck: Counter[Break] = Counter()
        self._upstream = ("127.0.0.1", port)
        self._strikes: list[Strike] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._players: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(_TICK)
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def add(self, *strikes: Strike) -> None:
        with self._lock:
            self._strikes.extend(strikes)

    def clear(self) -> None:
        """What has not struck yet never will."""
        with self._lock:
            self._strikes.clear()

    def go_down(self) -> None:
        self.is_down = True

    def cut_all(self) -> int:
        """Closes every connection, wherever it stands; how many there were."""
        with self._lock:
            cut = [*self._open]
        for connection in cut:
            connection.close()
        return len(cut)

    def close(self) -> None:
        self._over.set()
        for thread in (self._acceptor, *self._players):
            thread.join()
        self._listener.close()

    def strike(self, text: str, earlier: str) -> Strike | None:
        with self._lock:
            self.statements += 1
            met = [each for each in self._strikes if each.meets(text, earlier)]
            if not met:
                return None
            self.struck[met[0].kind] += 1
            return met[0]

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._players.append(threading.Thread(target=self._play, args=(client,)))
                self._players[-1].start()

    def _play(self, client: socket.socket) -> None:
        if self.is_down:
            client.close()
            return
        # either side may break off at any moment: that is an end like another
        with client, contextlib.suppress(OSError), socket.create_connection(self._upstream) as server:
            connection = _Connection(self, client, server)
            with self._lock:
                self._open.add(connection)
            try:
                connection.play()
            finally:
                with self._lock:
                    self._open.discard(connection)


class _Connection:
    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._asked = b""
        self._is_started = False
        self._statement = b""
        self._text = ""
        self._earlier = ""
        self._prepared: dict[bytes, str] = {}

    def close(self) -> None:
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def play(self) -> None:
        while not self._proxy.is_over:
            ready, _, _ = select.select([self._client, self._server], [], [], _TICK)
            if self._server in ready:
                answer = self._server.recv(_BLOCK)
                if not answer:
                    return
                self._client.sendall(answer)
            elif self._client in ready:
                more = self._client.recv(_BLOCK)
                if not more:
                    return
                self._asked += more
                if not self._hand_on():
                    return

    def _hand_on(self) -> bool:
        """Hands on what is whole; False once the connection is over."""
        while (message := self._next()) is not None:
            kind = message[:1] if self._is_started else b""
            if not self._is_started:
                code = int.from_bytes(message[4:8])
                self._is_started = code not in _NO_TLS
                self._server.sendall(message)
                continue
            self._statement += message
            self._read(kind, message[5:])
            if kind in b"QSXpHdcf":
                if kind in b"QS" and not self._judge():
                    return False
                self._server.sendall(self._statement)
                self._statement, self._text = b"", ""
        return True

    def _next(self) -> bytes | None:
        head = 1 if self._is_started else 0
        if len(self._asked) < head + 4:
            return None
        size = head + int.from_bytes(self._asked[head : head + 4])
        if len(self._asked) < size:
            return None
        message, self._asked = self._asked[:size], self._asked[size:]
        return message

    def _read(self, kind: bytes, body: bytes) -> None:
        match kind:
            case b"Q":
                self._text += body[:-1].decode(errors="replace")
            case b"P":
                name, text, *_ = body.split(b"\0")
                self._prepared[name] = text.decode(errors="replace")
            case b"B":
                _, name, *_ = body.split(b"\0")
                self._text += self._prepared.get(name, "")

    def _judge(self) -> bool:
        """Does what a strike says; True where the statement is to be handed on as usual."""
        if self._text.lstrip().startswith("BEGIN"):
            self._earlier = ""
        strike = self._proxy.strike(self._text, self._earlier)
        self._earlier += f"\n{self._text}"
        if strike is None:
            return True
        strike.meanwhile()
        strike.has_struck.set()
        match strike.kind:
            case Break.WITHIN:
                self._server.sendall(self._statement[: len(self._statement) // 2])
            case Break.AFTER:
                self._server.sendall(self._statement)
                self._answer()
            case Break.LATE:
                self._client.shutdown(socket.SHUT_RDWR)
                self._proxy.wait(strike.seconds)
                self._server.sendall(self._statement)
                self._answer()
            case Break.HELD:
                self._server.sendall(self._statement)
                answer = self._answer()
                self._proxy.wait(strike.seconds)
                self._client.sendall(answer)
                self._statement, self._text = b"", ""
                return self._go_on()
            case Break.LOST:
                self._server.sendall(self._statement)
                self._be_silent()
        return False

    def _go_on(self) -> bool:
        self.play()
        return False

    def _be_silent(self) -> None:
        while not self._proxy.is_over:
            ready, _, _ = select.select([self._client, self._server], [], [], _TICK)
            if self._client in ready:
                more = self._client.recv(_BLOCK)
                if not more:
                    return
                with contextlib.suppress(OSError):
                    self._server.sendall(more)
            elif self._server in ready and not self._server.recv(_BLOCK):
                # the server has ended the connection, and the client is not told of that either
                while not self._proxy.is_over:
                    if select.select([self._client], [], [], _TICK)[0] and not self._client.recv(_BLOCK):
                        return

    def _answer(self) -> bytes:
        """Everything up to ReadyForQuery, or to the end of the connection."""
        answer, at = b"", 0
        until = time.monotonic() + _MOST_SECONDS
        while time.monotonic() < until and not self._proxy.is_over:
            while len(answer) >= at + 5:
                size = 1 + int.from_bytes(answer[at + 1 : at + 5])
                if len(answer) < at + size:
                    break
                if answer[at : at + 1] == b"Z":
                    return answer
                at += size
            if not select.select([self._server], [], [], _TICK)[0]:
                continue
            more = self._server.recv(_BLOCK)
            if not more:
                break
            answer += more
        return answer


@contextlib.contextmanager
def postgres_proxy(port: int) -> Iterator[PostgresProxy]:
    """A proxy before the server on loopback's `port`."""
    proxy = PostgresProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
