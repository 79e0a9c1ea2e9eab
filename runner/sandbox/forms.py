"""A form with files, multipart/form-data of RFC 7578, as a service reads it."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass, field

from runner.sandbox.validation import Refusal


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; only a file has a `filename`."""

    content: bytes = field(repr=False)
    filename: str
    content_type: str

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


def read_form(body: bytes) -> dict[str, Part]:
    """The fields by their names; of several with one name the last. Raises Refusal.

    The boundary is read from the body's first line.
    """
    line, _, _ = body.partition(b"\r\n")
    if not line.startswith(b"--"):
        raise Refusal(400, "bad_request", "the body is no multipart form")
    parts: dict[str, Part] = {}
    for piece in (b"\r\n" + body).split(b"\r\n" + line)[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        told = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.HTTP)
        name = told.get_param("name", header="content-disposition")
        if isinstance(name, str):
            parts[name] = Part(content, told.get_filename() or "", told.get_content_type())
    return parts
