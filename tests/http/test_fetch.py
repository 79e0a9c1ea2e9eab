"""One GET over a real socket: the checked address is the one connected to, and every wait has an end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
import pytest
import trustme

from runner.http.addresses import ForbiddenAddressError
from runner.http.fetch import BrokenOffError, Patience, Stop, Wire
from tests.support.files_server import Connection, FilesServer, Seen, file, status

TLS = ssl.create_default_context()
PATIENCE = Patience(total=10, connect=2, head=2)


def to(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that knows one answer."""
    return lambda host, port: list(addresses)


def wire(
    addresses: Sequence[str] = ("127.0.0.1",),
    *,
    allow_loopback: bool = True,
    tls: ssl.SSLContext = TLS,
    stop: Stop | None = None,
    patience: Patience = PATIENCE,
) -> Wire:
    return Wire(patience, stop or Stop(), tls=tls, allow_loopback=allow_loopback, resolve=to(*addresses))


def body_of(source: Wire, url: str, *, batch: int = 1 << 16) -> bytes:
    buffer, body = memoryview(bytearray(batch)), b""
    with source.get(httpx.URL(url), {}) as answer:
        while size := answer.read_into(buffer):
            body += buffer[:size]
    return body


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files_test(authority: trustme.CA) -> Iterator[FilesServer]:
    """A server with a certificate for files.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("files.test").configure_cert(context)
    with FilesServer(status(200), tls=context) as server:
        yield server


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.security(9)
@pytest.mark.parametrize("answer", [["10.0.0.1"], ["127.0.0.1"], ["::1", "fd00::1"], ["169.254.169.254"], []])
def test_a_public_name_with_a_private_address_is_not_connected_to(answer: list[str]) -> None:
    with pytest.raises(ForbiddenAddressError, match=r"files\.example\.com"):
        body_of(wire(answer, allow_loopback=False), "https://files.example.com/a?canary")


def test_localhost_means_nothing_but_this_machine() -> None:
    with pytest.raises(ForbiddenAddressError):
        body_of(wire(["1.1.1.1"]), "http://localhost:1/a")


def test_a_name_without_an_answer_is_a_failed_connection() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    source = Wire(PATIENCE, Stop(), tls=TLS, allow_loopback=True, resolve=resolve)
    with pytest.raises(BrokenOffError):
        body_of(source, "https://files.example.com/a")


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    """127.0.0.2 has no server at that port; the name is asked for once."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.2", "127.0.0.1"]

    with FilesServer(status(200)) as server:
        source = Wire(PATIENCE, Stop(), tls=TLS, allow_loopback=True, resolve=resolve)
        content = body_of(source, f"http://files.test:{server.port}/a")
    assert content == b"no"
    assert asked == ["files.test"]
    assert server.seen[0].headers["host"] == f"files.test:{server.port}"


@pytest.mark.parametrize(("name", "is_trusted"), [("files.test", True), ("other.test", False)])
def test_tls_verifies_the_name_and_not_the_pinned_address(
    authority: trustme.CA, files_test: FilesServer, name: str, is_trusted: bool
) -> None:
    """A certificate for files.test on 127.0.0.1 is good for files.test alone."""
    source, url = wire(tls=trusting(authority)), f"https://{name}:{files_test.port}/a"
    if is_trusted:
        assert body_of(source, url) == b"no"
    else:
        with pytest.raises(BrokenOffError, match="SSLCertVerificationError"):
            body_of(source, url)


@pytest.mark.fault(63)
@pytest.mark.parametrize("host", ["4.xn--b9y09-", "a_b.example", "-a.example"])
def test_a_host_that_a_library_takes_for_none_is_a_failed_connection(host: str) -> None:
    """What TLS and IDNA think of a name differs; each raises an error of its own."""
    with FilesServer(status(200)) as server, pytest.raises(BrokenOffError):
        body_of(wire(), f"https://{host}:{server.port}/a")


@pytest.mark.fault(39)
@pytest.mark.parametrize("length", [1, 40, 60, 70])
def test_a_head_that_is_cut_off_is_no_answer(length: int) -> None:
    """http.client takes the end of the connection for the end of the headers."""
    head = b'HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 5\r\nETag: "v1"\r\n\r\nvideo'

    def answer(_: Seen, connection: Connection) -> None:
        connection.send(head[:length])

    with FilesServer(answer) as server, pytest.raises(BrokenOffError):
        body_of(wire(), server.url())


@pytest.mark.parametrize("number", [100, 102, 103])
def test_an_informational_answer_is_not_the_answer(number: int) -> None:
    """RFC 9110, 15.2: there may be several, and nobody has to ask for them."""

    def answer(_: Seen, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 %d Hint\r\nLink: </a>\r\n\r\n" % number * 2)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvideo")

    with FilesServer(answer) as server:
        assert body_of(wire(), server.url()) == b"video"


@pytest.mark.fault(43)
@pytest.mark.parametrize("number", [100, 103])
def test_informational_answers_without_end_are_left(number: int) -> None:
    def answer(_: Seen, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.send(b"HTTP/1.1 %d Hint\r\n\r\n" % number * 100)

    began = time.monotonic()
    with FilesServer(answer) as server, pytest.raises(BrokenOffError):
        body_of(wire(), server.url())
    assert time.monotonic() - began < PATIENCE.head


@pytest.mark.fault(39)
def test_all_that_arrived_is_handed_out_before_the_cut_is_told() -> None:
    body = bytes(range(256)) * 100
    buffer, taken = memoryview(bytearray(1 << 20)), b""
    with (
        FilesServer(file(body, cut_at=20_000)) as server,
        wire().get(httpx.URL(server.url()), {}) as answer,
    ):
        taken += buffer[: answer.read_into(buffer)]
        with pytest.raises(BrokenOffError):
            answer.read_into(buffer)
    assert taken == body[:20_000]


@pytest.mark.parametrize("phase", ["head", "body"])
def test_a_stop_from_outside_ends_each_wait_at_once(phase: str) -> None:
    """Far within its patience; the bytes that came are handed out."""
    is_waiting = threading.Event()

    def answer(_: Seen, connection: Connection) -> None:
        if phase == "body":
            connection.head(200, {"Content-Length": 1000})
            connection.send(b"some")
        is_waiting.set()
        connection.wait_for_close()

    stop = Stop()
    assert stop.begin()
    with FilesServer(answer) as server:
        setter = threading.Thread(target=lambda: (is_waiting.wait(5), stop.set()))
        setter.start()
        started = time.monotonic()
        with pytest.raises(BrokenOffError):
            body_of(wire(stop=stop, patience=Patience(total=60, head=60)), server.url())
        setter.join()
    assert time.monotonic() - started < 10


def test_what_was_stopped_before_it_began_asks_for_nothing() -> None:
    stop = Stop()
    assert stop.set() is False
    assert stop.begin() is False
    with FilesServer(status(200)) as server, pytest.raises(BrokenOffError, match="stopped"):
        body_of(wire(stop=stop), server.url())
    assert server.seen == []


@pytest.mark.fault(43)
def test_a_handshake_that_never_ends_is_left() -> None:
    """A server that takes the connection and says nothing of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = wire(patience=Patience(total=10, connect=0.2))
        with pytest.raises(BrokenOffError, match="TimeoutError"):
            body_of(source, f"https://files.test:{silent.getsockname()[1]}/a")


@pytest.mark.security(12)
@pytest.mark.parametrize("head", [b"X: " + b"a" * 70_000, b"\r\n".join(b"X-%d: a" % n for n in range(200))])
def test_a_head_without_measure_is_refused(head: bytes) -> None:
    def answer(_: Seen, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")

    with FilesServer(answer) as server, pytest.raises(BrokenOffError):
        body_of(wire(), server.url())
