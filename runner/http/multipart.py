"""A form with files, multipart/form-data of RFC 7578: for creates and uploads that want no JSON. Pure."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, field

_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""As browsers write names, and the standard asks for."""


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field; with a `filename` it is a file."""

    name: str
    content: bytes = field(repr=False)
    filename: str = ""
    content_type: str = ""

    @classmethod
    def of(cls, name: str, value: object) -> FormPart:
        """A field of this name: text as it is, true and false in lower case, and a data URI as a file."""
        head, marker, encoded = str(value).partition(";base64,")
        if not marker or not head.startswith("data:"):
            return cls(name, (str(value).lower() if isinstance(value, bool) else str(value)).encode())
        content_type = head.removeprefix("data:")
        suffix = mimetypes.guess_extension(content_type) or ""
        return cls(name, base64.b64decode(encoded), f"{name}{suffix}", content_type)


def encode_form(parts: Sequence[FormPart]) -> tuple[bytes, str]:
    """The body and its content type. The same parts give the same bytes."""
    encoded = [_head(part) + part.content for part in parts]
    digest = hashlib.sha256()
    for part in encoded:
        digest.update(part)
    # nobody can put the end of a part into its content: it would have to hold its own digest
    boundary = digest.hexdigest().encode()
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in encoded)
    return body + b"--" + boundary + b"--\r\n", f"multipart/form-data; boundary={boundary.decode()}"


def _head(part: FormPart) -> bytes:
    head = f'Content-Disposition: form-data; name="{part.name.translate(_QUOTED)}"'
    if part.filename:
        head += f'; filename="{part.filename.translate(_QUOTED)}"'
    if part.content_type:
        head += f"\r\nContent-Type: {part.content_type}"
    return f"{head}\r\n\r\n".encode()
