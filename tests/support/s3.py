"""An S3 server for tests: moto's, as a process of its own on loopback, behind a proxy that can misbehave."""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SECRET = "not-a-real-storage-secret"
_START_SECONDS = 60.0
_NAMESPACE = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came to the proxy; `target` is path and query."""

    method: str
    target: str
    size: int


@dataclass(frozen=True, slots=True)
class StoreFault:
    """What becomes of a request: `status` answers in the server's place, with a `location` if it
    has one; `cut` closes the connection, after
    the server has done it where it `arrives`; `size` replaces the Content-Length of a HEAD; `body` the
    answer's.
    """

    status: int = 0
    code: str = ""
    cut: bool = False
    arrives: bool = True
    size: int | None = None
    location: str = ""
    body: bytes | None = None


@dataclass(slots=True)
class S3:
    """`url` is the proxy's. `faults` are asked in order for each request; the first that has one decides."""

    port: int
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[Callable[[Request], StoreFault | None]] = field(default_factory=list)
    _buckets: int = 0

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """A new, empty bucket."""
        self._buckets += 1
        name = f"takes-{self.url.rpartition(':')[2]}-{self._buckets}"
        assert self._ask("PUT", f"/{name}")[0] == 200
        return name

    def put(self, bucket: str, key: str, content: bytes) -> None:
        assert self._ask("PUT", f"/{bucket}/{key}", content)[0] == 200

    def delete(self, bucket: str, key: str) -> None:
        assert self._ask("DELETE", f"/{bucket}/{key}")[0] == 204

    def get(self, bucket: str, key: str) -> bytes:
        status, content = self._ask("GET", f"/{bucket}/{key}")
        assert status == 200, key
        return content

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket, in order."""
        found: list[str] = []
        token = ""
        while True:
            query = "?list-type=2" + (f"&continuation-token={urllib.parse.quote(token)}" if token else "")
            status, content = self._ask("GET", f"/{bucket}{query}")
            assert status == 200
            root = ElementTree.fromstring(content)
            found += [node.text or "" for node in root.findall("s3:Contents/s3:Key", _NAMESPACE)]
            token = root.findtext("s3:NextContinuationToken", "", _NAMESPACE)
            if not token:
                return sorted(found)

    def unfinished(self, bucket: str) -> int:
        """Multipart uploads that were neither ended nor given up."""
        _, content = self._ask("GET", f"/{bucket}?uploads")
        return content.count(b"<UploadId>")

    def fail(self, method: str, pattern: str, fault: StoreFault, times: int = 1_000_000) -> None:
        """From now on the first `times` requests of this kind, whose target fits, have this fault."""
        left = [times]

        def fault_of(request: Request) -> StoreFault | None:
            if left[0] and re.fullmatch(method, request.method) and re.search(pattern, request.target):
                left[0] -= 1
                return fault
            return None

        self.faults.append(fault_of)

    def count(self, method: str = ".*", pattern: str = "") -> int:
        return sum(
            bool(re.fullmatch(method, each.method) and re.search(pattern, each.target))
            for each in self.requests
        )

    def _ask(self, method: str, target: str, content: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, content, {"Authorization": _ANYBODY})
            answer = connection.getresponse()
            return answer.status, answer.read()


_ANYBODY = "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/s3/aws4_request, Signature=0"


@contextlib.contextmanager
def moto_server() -> Iterator[int]:
    """Gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "moto's server has ended"
                assert time.monotonic() < until, "moto's server does not listen"
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def proxied(port: int) -> Iterator[S3]:
    """A proxy before the server on `port`, which counts what comes and does what `fail` says."""
    found = S3(port)
    handler = functools.partial(_ProxyHandler, found)
    with _ProxyServer(("127.0.0.1", 0), handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


class _ProxyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:  # a client that went away is no news
        pass


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, s3: S3, *args: object) -> None:
        self._s3 = s3
        self._behind: http.client.HTTPConnection | None = None
        super().__init__(*args)  # type: ignore[arg-type]

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, len(body))
        self._s3.requests.append(request)
        fault = next(filter(None, (each(request) for each in self._s3.faults)), StoreFault())
        if fault.status:
            told = {"Location": fault.location + self.path} if fault.location else {}
            self._answer(fault.status, f"<Error><Code>{fault.code}</Code></Error>".encode(), told)
            return
        if fault.cut and not fault.arrives:
            self.close_connection = True
            return
        if self._behind is None:
            self._behind = http.client.HTTPConnection("127.0.0.1", self._s3.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        self._behind.request(self.command, self.path, body, headers)
        answer = self._behind.getresponse()
        content = answer.read()
        if fault.cut:
            self.close_connection = True
            return
        told = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "content-length")
        }
        size = answer.getheader("Content-Length")
        if fault.body is not None:
            content, size = fault.body, None
        if fault.size is not None:
            size = str(fault.size)
        self._answer(answer.status, content, told, size)

    def _answer(self, status: int, content: bytes, headers: dict[str, str], size: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", size if is_head and size is not None else str(len(content)))
        self.end_headers()
        if not is_head:
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _hand_on

    def log_message(self, *_: object) -> None:
        pass
