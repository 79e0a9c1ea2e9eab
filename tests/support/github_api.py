"""GitHub's comments of pull requests, as its REST API has them: https://docs.github.com/en/rest/issues/comments"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ONE = re.compile(r"/repos/studio/film/issues/comments/(\d+)")
_OF = re.compile(r"/repos/studio/film/issues/(\d+)/comments")


@dataclass(slots=True)
class GitHubApi:
    """`comments` are those of all pull requests, oldest first. Who shows another `token` may only read."""

    url: str
    token: str = "token"
    comments: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, body: str, *, kind: str = "User") -> None:
        comment = {"id": len(self.comments) + 1, "number": number, "body": body, "user": {"type": kind}}
        self.comments.append(comment)

    def bodies(self, number: int) -> list[str]:
        return [each["body"] for each in self.comments if each["number"] == number]


@contextlib.contextmanager
def github_api() -> Iterator[GitHubApi]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = _OF.fullmatch(parts.path)
            assert found is not None
            asked = parse_qs(parts.query)
            page, size = int(asked["page"][0]), int(asked["per_page"][0])
            own = [each for each in api.comments if each["number"] == int(found[1])]
            self._answer(200, own[(page - 1) * size : page * size])

        def do_POST(self) -> None:
            found = _OF.fullmatch(self.path)
            assert found is not None
            if self._may_write():
                api.add(int(found[1]), self._body(), kind="Bot")
                self._answer(201, api.comments[-1])

        def do_PATCH(self) -> None:
            found = _ONE.fullmatch(self.path)
            assert found is not None
            if self._may_write():
                api.comments[int(found[1]) - 1]["body"] = self._body()
                self._answer(200, api.comments[int(found[1]) - 1])

        def _may_write(self) -> bool:
            if self.headers["Authorization"] == f"Bearer {api.token}":
                return True
            self._answer(403, {"message": "Resource not accessible by integration"})
            return False

        def _body(self) -> str:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert len(sent["body"]) <= 65_536
            return str(sent["body"])

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api = GitHubApi(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
