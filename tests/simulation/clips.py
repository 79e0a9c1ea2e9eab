"""Result files small enough for thousands of them, and each says which generation it is."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """What a file of the modelled service was made from."""

    remote_id: str
    owner: str
    prompt: str
    seed: int | None
    model: str

    @property
    def said(self) -> tuple[str, int | None, str]:
        return self.prompt, self.seed, self.model


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


_INDEX = _box(
    b"moov",
    _box(
        b"trak",
        _box(b"tkhd", bytes(76), struct.pack(">II", 64 << 16, 48 << 16)),
        _box(
            b"mdia",
            _box(b"mdhd", bytes(12), struct.pack(">II", 24, 96), bytes(4)),
            _box(b"hdlr", bytes(8), b"vide", bytes(13)),
            _box(
                b"minf",
                _box(
                    b"stbl",
                    _box(b"stsd", bytes(4), struct.pack(">I", 1), _box(b"avc1", bytes(78))),
                    _box(b"stsz", bytes(8), struct.pack(">I", 96)),
                ),
            ),
        ),
    ),
)


def video(label: Label) -> bytes:
    """An MP4 by its boxes, with the label as its media data."""
    text = json.dumps(asdict(label)).encode()
    return _box(b"ftyp", b"isom", bytes(4), b"isom") + _INDEX + _box(b"mdat", text)


def last_frame(label: Label) -> bytes:
    """A PNG by its chunks, with the label as its text."""
    header = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    text = b"label\0" + json.dumps(asdict(label)).encode()
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def read_label(content: bytes) -> Label | None:
    """The label of a whole file, None for anything else."""
    start = content.find(b'{"remote_id"')
    end = content.find(b"}", start)
    if start < 0 or end < 0:
        return None
    label = Label(**json.loads(content[start : end + 1]))
    return label if content in (video(label), last_frame(label)) else None
