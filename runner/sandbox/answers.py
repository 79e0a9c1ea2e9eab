"""Answers as the service words them: JSON, the error envelope, and faults in their place."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from runner.sandbox.faults import Fault


def encode(document: object) -> bytes:
    """Compact JSON in ASCII: what a client sent may hold lone surrogates, which UTF-8 cannot carry."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def answer(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer with an `x-request-id` of its own, unless one is given."""
    own = {"x-request-id": _request_id(), **(headers or {})}
    return Response(encode(document), status, own, media_type="application/json")


def error(
    status: int,
    code: str,
    message: str,
    *,
    details: list[dict[str, Any]] | None = None,
    provider_code: str = "",
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The error envelope of wire/mesh-api.md; `retry_after` in seconds goes into header and body."""
    request_id = _request_id()
    content: dict[str, Any] = {"code": code, "message": message}
    own = {"x-request-id": request_id, **(headers or {})}
    if details:
        content["details"] = details
    if provider_code:
        content["provider_code"] = provider_code
    if retry_after is not None:
        content["retry_after_seconds"] = math.ceil(retry_after)
        own.setdefault("retry-after", str(math.ceil(retry_after)))
    return answer({"error": content, "request_id": request_id}, status, own)


def plain_error(
    status: int,
    code: str,
    message: str,
    *,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    **_of_mesh_only: object,
) -> Response:
    """The error of wire/getimg.md: a code and a message; `retry_after` in seconds goes into the header."""
    own = dict(headers or {})
    if retry_after is not None:
        own.setdefault("retry-after", str(math.ceil(retry_after)))
    return answer({"error": {"code": code, "message": message}}, status, own)


def injected(fault: Fault, word: Callable[..., Response] = error) -> Response:
    """What an ANSWER fault says: its body as it stands, or an error in the service's words."""
    headers = {name.lower(): value for name, value in fault.headers.items()}
    if fault.body is not None:
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        headers.setdefault("x-request-id", _request_id())
        return Response(fault.body.encode(), fault.status, headers)
    return word(
        fault.status,
        fault.code,
        fault.message,
        provider_code=fault.provider_code,
        retry_after=fault.retry_after,
        headers=headers,
    )


def too_large() -> Response:
    """What the edge says: an HTML page, no envelope."""
    page = "<html><head><title>413 Request Entity Too Large</title></head><body>413</body></html>"
    return Response(page, 413, media_type="text/html")


def _request_id() -> str:
    return f"req_{secrets.token_hex(8)}"
