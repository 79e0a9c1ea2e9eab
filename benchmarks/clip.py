"""A real MP4 of any size: a small H.264 clip, padded with a `free` box as the format allows."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import av

_SIDE = 64
_FRAMES = 12


def make_clip(size: int) -> bytes:
    """`size` bytes that every player and every probe takes for one small video.

    Raises ValueError where the clip alone is larger.
    """
    clip = _encode()
    missing = size - len(clip)
    if missing < 16:
        raise ValueError(f"{size} bytes are too few: the clip alone has {len(clip)}")
    # ISO/IEC 14496-12: size 1 means that 64 bits of size follow the kind
    header = struct.pack(">I4sQ", 1, b"free", missing)
    return clip + header + bytes(missing - len(header))


def _encode() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=_FRAMES)
            stream.width, stream.height, stream.pix_fmt = _SIDE, _SIDE, "yuv420p"
            for index in range(_FRAMES):
                frame = av.VideoFrame(_SIDE, _SIDE, "yuv420p")
                for plane in frame.planes:
                    plane.update(bytes([16 * index]) * plane.buffer_size)
                frame.pts = index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()
