"""One GET of a file, blocking: made for a worker thread, bounded in time, and stopped from outside.

Over http.client, on a socket that is connected here: to an address that was checked, with TLS for the
name that the URL has; or through a proxy's tunnel. No cookie, redirect or kept connection.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx

from runner.http.addresses import Resolve, is_at, port_of, resolve_host, usable_addresses
from runner.http.route import DIRECT, Handshake, Route, TunnelError

_HEAD = 1 << 16
"""Bytes read ahead for the head of an answer; a body goes straight into the caller's buffer."""
_MOST_INFORMATIONAL = 16
"""Answers such as 103 (Early Hints) before the one that counts."""


class BrokenOffError(Exception):
    """No whole answer came; the text says why, without the URL."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a fetch waits. In each `rate_window` seconds of waiting, `minimum_rate` bytes a second
    must arrive: a timeout between bytes alone lets a drip go on for ever (row 43).
    """

    total: float = 1800.0
    connect: float = 15.0
    head: float = 60.0
    minimum_rate: int = 4096
    rate_window: float = 30.0


class Stop:
    """Ends a fetch from another thread, wherever it waits: its socket is shut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_begun = False
        self._is_set = False

    def begin(self) -> bool:
        """Called by the thread that does the work; False where it was stopped before it began."""
        with self._lock:
            self._is_begun = not self._is_set
            return self._is_begun

    def set(self) -> bool:
        """Whether the work has begun, and thus comes to an end of its own."""
        with self._lock:
            self._is_set = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # of the plain socket: TLS would be taken apart under the hands of its reader
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return self._is_begun

    @contextlib.contextmanager
    def watching(self, connection: socket.socket) -> Iterator[None]:
        """For as long as this is open, `set` shuts `connection`; closes it at the end."""
        with self._lock:
            self._socket = connection
            is_set = self._is_set
        try:
            if is_set:
                raise BrokenOffError("stopped")
            yield
        finally:
            with self._lock:
                self._socket = None
                connection.close()


class Answer(Protocol):
    """The head of an answer, its body still to be read."""

    @property
    def status(self) -> int: ...

    @property
    def length(self) -> int | None:
        """Bytes of the body that are promised; None where it ends with the connection or its last chunk."""
        ...

    def header(self, name: str) -> str:
        """Empty where there is none."""
        ...

    def read_into(self, buffer: memoryview) -> int:
        """Fills `buffer`; less only at the end, and 0 behind it. Raises BrokenOffError once all that has
        arrived was handed out.
        """
        ...


class Source(Protocol):
    """Where answers come from: the network, or a simulation of it."""

    def get(self, url: httpx.URL, headers: Mapping[str, str]) -> contextlib.AbstractContextManager[Answer]:
        """Raises BrokenOffError, and ForbiddenAddressError for a name that leads where nothing is fetched."""
        ...


class Wire:
    """The network, for one download: its patience spans all that it asks for."""

    def __init__(
        self,
        patience: Patience,
        stop: Stop,
        *,
        tls: ssl.SSLContext,
        allow_loopback: bool,
        own_origin: str = "",
        resolve: Resolve = resolve_host,
        route: Route = DIRECT,
    ) -> None:
        """`own_origin` may be at any address."""
        self._clock = _Clock(patience)
        self._stop = stop
        self._tls = tls
        self._allow_loopback = allow_loopback
        self._own_origin = own_origin
        self._resolve = resolve
        self._route = route

    @contextlib.contextmanager
    def get(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[Answer]:
        with self._connected(url) as connection:
            self._clock.expect_head()
            guarded = _Guarded(connection, self._clock)
            answer = _ask(guarded, url, headers)
            self._clock.expect_body()
            yield answer

    @contextlib.contextmanager
    def _connected(self, url: httpx.URL) -> Iterator[socket.socket]:
        failure: Exception | None = None
        proxy = self._route.proxy_for(url.host)
        with _broken_off():
            if proxy is None and is_at(url, self._own_origin):
                port = port_of(url)
                addresses = self._resolve(url.host, port)
            elif proxy is None:
                port = port_of(url)
                addresses = usable_addresses(url, allow_loopback=self._allow_loopback, resolve=self._resolve)
            else:  # which resolves the name itself: whether that is public is the proxy's to say
                port = proxy.port
                addresses = self._resolve(proxy.host, port)
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with contextlib.ExitStack() as stack:
                try:
                    connection = socket.socket(family, socket.SOCK_STREAM)
                    stack.enter_context(self._stop.watching(connection))
                    connection.settimeout(self._clock.connect_left())
                    connection.connect((address, port))
                except OSError as error:
                    failure = error
                    continue
                if proxy is not None:
                    with _broken_off():
                        self._open_tunnel(connection, Handshake(proxy, url.host, port_of(url)))
                if url.scheme == "https":
                    with _broken_off():
                        connection = self._tls.wrap_socket(
                            connection,
                            server_hostname=url.raw_host.decode("ascii"),
                            do_handshake_on_connect=False,
                        )
                        stack.enter_context(self._stop.watching(connection))
                        connection.do_handshake()
                yield connection
                return
        raise BrokenOffError(_words(failure)) from failure

    def _open_tunnel(self, connection: socket.socket, handshake: Handshake) -> None:
        connection.sendall(handshake.request)
        while not handshake.receive(connection.recv(_HEAD)):
            connection.settimeout(self._clock.connect_left())


class _Clock:
    """How long the next wait may be. Time at our own disk counts towards the total alone, for it is not the
    server's.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._end = time.monotonic() + patience.total
        self._phase = ""
        self._left = 0.0
        self._quota = 0.0
        self._began = 0.0

    def connect_left(self) -> float:
        return max(0.001, min(self._patience.connect, self._end - time.monotonic()))

    def expect_head(self) -> None:
        self._phase = f"no answer within {self._patience.head:g} s"
        self._left, self._quota = self._patience.head, float("inf")

    def expect_body(self) -> None:
        rate, window = self._patience.minimum_rate, self._patience.rate_window
        self._phase = f"slower than {rate} bytes/s over {window:g} s"
        self._left, self._quota = window, rate * window

    def wait(self) -> float:
        """Begins a wait; gives the seconds that it may take. Raises TimeoutError, in words."""
        self._began = time.monotonic()
        left = min(self._left, self._end - self._began)
        if left <= 0:
            raise TimeoutError(self.complaint())
        return left

    def waited(self, size: int) -> None:
        self._left -= time.monotonic() - self._began
        self._quota -= size
        if self._quota <= 0:
            self.expect_body()

    def complaint(self) -> str:
        if time.monotonic() >= self._end:
            return f"not done within {self._patience.total:g} s"
        return self._phase


class _Guarded:
    """A connected socket as http.client uses one: each wait on it is bounded.

    What breaks off reads as an end, so that everything that came before is handed out; `failure` keeps
    the reason.
    """

    def __init__(self, connection: socket.socket, clock: _Clock) -> None:
        self.failure: BrokenOffError | None = None
        self.is_at_end = False
        self._connection = connection
        self._clock = clock
        self._timeout = 0.0

    def sendall(self, data: bytes) -> None:
        self._wait()
        self._connection.sendall(data)
        self._clock.waited(0)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self), _HEAD)

    def close(self) -> None:
        """The connection is closed by who made it."""

    def _wait(self) -> None:
        """Bounds the next wait by at most twice what is left: each setting is a system call."""
        left = self._clock.wait()
        if not left <= self._timeout <= 2 * left:
            self._timeout = left
            self._connection.settimeout(left)

    def receive(self, buffer: memoryview) -> int:
        if self.failure is not None:
            return 0
        try:
            self._wait()
            count = self._connection.recv_into(buffer)
        except TimeoutError:
            self.failure = BrokenOffError(self._clock.complaint())
            return 0
        except (OSError, ValueError) as error:
            self.failure = BrokenOffError(_words(error))
            return 0
        self._clock.waited(count)
        self.is_at_end = count == 0
        return count


class _Reader(io.RawIOBase):
    def __init__(self, guarded: _Guarded) -> None:
        self._guarded = guarded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io.BufferedReader gives it
        return self._guarded.receive(buffer)


class _Response:
    def __init__(self, guarded: _Guarded, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.length = response.length
        self._left = response.length
        self._guarded = guarded
        self._response = response

    def header(self, name: str) -> str:
        return self._response.getheader(name, "")

    def read_into(self, buffer: memoryview) -> int:
        if self._left == 0:
            return 0
        try:
            count = self._response.readinto(buffer)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise self._guarded.failure or BrokenOffError(_words(error)) from error
        if self._left is not None:
            self._left -= count
        if count == 0 and (self._guarded.failure is not None or self._left):
            raise self._guarded.failure or BrokenOffError("the connection was closed")
        return count


class _Head(http.client.HTTPResponse):
    """Passes over all informational answers, not 100 alone, and not over endlessly many."""

    _passed_over = 0

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # which typeshed does not show
        # 101 ends it: what follows is not HTTP, and nobody asked for it
        if 100 <= status < 200 and status != http.client.SWITCHING_PROTOCOLS:
            self._passed_over += 1
            if self._passed_over > _MOST_INFORMATIONAL:
                raise http.client.HTTPException("no end of informational answers")
            status = http.client.CONTINUE
        return version, status, reason


def _ask(guarded: _Guarded, url: httpx.URL, headers: Mapping[str, str]) -> _Response:
    client = http.client.HTTPConnection(url.netloc.decode("ascii"))
    client.response_class = _Head
    client.sock = guarded  # the three methods that it uses are there
    with _broken_off(guarded):
        client.putrequest("GET", url.raw_path.decode("ascii"), skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": url.netloc.decode("ascii"), **headers}.items():
            client.putheader(name, value)
        client.endheaders()
        response = client.getresponse()
    if guarded.failure is not None or guarded.is_at_end:
        raise guarded.failure or BrokenOffError("the connection was closed before the answer")
    return _Response(guarded, response)


@contextlib.contextmanager
def _broken_off(guarded: _Guarded | None = None) -> Iterator[None]:
    """What libraries raise for a connection, as BrokenOffError.

    ValueError: what TLS, IDNA and http.client say of a strange host or header.
    """
    try:
        yield
    except TunnelError as error:
        raise BrokenOffError(str(error)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        failure = guarded.failure if guarded is not None else None
        raise failure or BrokenOffError(_words(error)) from error


def _words(error: Exception | None) -> str:
    # the type alone: the texts of libraries may quote what the server sent
    return f"the connection failed ({type(error).__name__})"
