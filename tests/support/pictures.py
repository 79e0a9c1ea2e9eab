"""Small whole images."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 640, height: int = 360) -> bytes:
    """A black PNG of this size, in grey."""
    rows = zlib.compress((b"\0" + bytes(width)) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
