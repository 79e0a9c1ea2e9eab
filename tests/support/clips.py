"""Small real MP4 files for tests, made with PyAV."""

from __future__ import annotations

import random
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av

SOUND_RATE = 8000


def make_clip(
    *,
    frames: int = 12,
    width: int = 64,
    height: int = 48,
    fps: int = 12,
    sound: bool = False,
    fast: bool = True,
) -> bytes:
    """An H.264 MP4 of noise, with AAC silence if `sound`; its index stands first if `fast`."""
    with tempfile.TemporaryDirectory() as folder:
        # a named file, for moving the index to the front reads it a second time
        path = Path(folder) / "clip.mp4"
        _write(path, frames, width, height, fps, sound, {"movflags": "faststart"} if fast else {})
        return path.read_bytes()


def _write(
    path: Path, frames: int, width: int, height: int, fps: int, sound: bool, options: dict[str, str]
) -> None:
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound else None
        noise = random.Random(7)
        for index in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(noise.randbytes(plane.buffer_size))
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            silence = av.AudioFrame(format="s16", layout="mono", samples=SOUND_RATE * frames // fps)
            silence.planes[0].update(bytes(silence.planes[0].buffer_size))
            silence.sample_rate, silence.pts, silence.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))


def make_other(folder: Path, muxer: str, codec: str) -> bytes:
    """A second of grey in another container. Written into `folder`: a muxer goes back to fill in sizes."""
    path = folder / f"clip.{muxer}"
    with av.open(str(path), "w", format=muxer) as container:
        video = container.add_stream(codec, rate=25)
        # the threads of a WebM encoder may wait for each other in a loop, for minutes on a busy machine
        video.codec_context.thread_count = 1
        video.width, video.height = 64, 48
        video.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([index]) * plane.buffer_size)
            frame.pts = index
            container.mux(video.encode(frame.reformat(format=video.pix_fmt)))
        container.mux(video.encode(None))
    return path.read_bytes()


def with_noise_for_pictures(clip: bytes) -> bytes:
    """The clip with boxes as they were, and no picture in its media data that a decoder would take."""
    at = clip.rindex(b"mdat") + 4
    (size,) = struct.unpack_from(">I", clip, at - 8)
    return clip[:at] + b"\xff" * (size - 8) + clip[at + size - 8 :]
