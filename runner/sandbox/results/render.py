"""Renders pictures to H.264 MP4s in worker threads, once each, and keeps the files within a bound."""

from __future__ import annotations

import array
import asyncio
import hashlib
import math
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

from runner.sandbox.results.picture import FPS, Picture, draw_pictures

_SAMPLE_RATE = 16_000
_BIT_RATE = 16_000
"""Hz and bits a second: enough for a tone, and a third of the time that 44,100 Hz take to encode."""
_AAC_FRAME = 1024


@dataclass(frozen=True, slots=True)
class Rendered:
    """A file on disk; `etag` is made of its bytes."""

    path: Path
    size: int
    etag: str


MIN_SIDE = 300
"""Pixels: the shortest side of an image in a request (wire/seedance.md)."""


_H264 = "libx264", {"preset": "ultrafast", "qp": "26"}
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": _H264,
    ".mov": _H264,
    ".webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    ".flv": ("flv", {}),
}


def render_video(picture: Picture, video: Path) -> None:
    """Writes the MP4, or what the suffix says; the same picture gives the same bytes.

    Only MP4 and MOV have sound.
    """
    codec, options = _ENCODERS[video.suffix]
    muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if codec == "libx264" else {})
    with av.open(str(video), "w", format=video.suffix[1:], options=muxing) as box:
        stream = box.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        # More than one thread would make the bytes depend on the machine.
        stream.codec_context.thread_count = 1
        sound = _Sound(box, picture) if picture.sound and codec == "libx264" else None
        converter = VideoReformatter()
        for frame, indices in draw_pictures(picture):
            drawn = av.VideoFrame.from_image(frame)  # type: ignore[no-untyped-call]
            shown = converter.reformat(drawn, format="yuv420p")
            shown.time_base = Fraction(1, FPS)
            for index in indices:
                shown.pts = index
                box.mux(stream.encode(shown))
                if sound is not None:
                    sound.write_until((index + 1) / FPS)
        box.mux(stream.encode(None))
        if sound is not None:
            sound.finish()


def render_last_frame(picture: Picture, image: Path) -> None:
    """Writes the PNG of the last frame of what `render_video` writes."""
    *_, (frame, _) = draw_pictures(picture)
    _fit_for_a_request(frame).save(image, format="PNG")


RENDER = {f"video{suffix}": render_video for suffix in _ENCODERS} | {"last_frame.png": render_last_frame}


def _fit_for_a_request(frame: Image.Image) -> Image.Image:
    """A last frame opens the next shot, so the least size of images holds for it at any scale."""
    factor = MIN_SIDE / min(frame.size)
    if factor <= 1:
        return frame
    width, height = (math.ceil(side * factor) for side in frame.size)
    return frame.resize((width, height), Image.Resampling.NEAREST)


class _Sound:
    """A tone whose pitch comes from the picture."""

    def __init__(self, box: Any, picture: Picture) -> None:
        self._box = box
        self._stream = box.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        self._stream.bit_rate = _BIT_RATE
        # Whole periods in one frame, so that one frame repeats without a click.
        periods = 14 + 2 * (int(picture.digest[:4], 16) % 8) + picture.seed % 5
        turn = 2 * math.pi * periods / _AAC_FRAME
        self._tone = array.array("f", (0.1 * math.sin(turn * step) for step in range(_AAC_FRAME))).tobytes()
        self._written = 0

    def write_until(self, seconds: float) -> None:
        while self._written + _AAC_FRAME <= seconds * _SAMPLE_RATE:
            frame = av.AudioFrame(format="fltp", layout="mono", samples=_AAC_FRAME)
            frame.planes[0].update(self._tone)
            frame.sample_rate, frame.pts = _SAMPLE_RATE, self._written
            self._box.mux(self._stream.encode(frame))
            self._written += _AAC_FRAME

    def finish(self) -> None:
        self._box.mux(self._stream.encode(None))


class Renderer:
    """Files under `directory`, or under a temporary one that `close` removes. Used from one event loop.

    When more than `most_bytes` are kept, those rendered first go first.
    """

    def __init__(self, directory: Path | None, most_bytes: int, threads: int) -> None:
        self._temporary = (
            tempfile.TemporaryDirectory(prefix="callsheet-sandbox-") if directory is None else None
        )
        self._directory = Path(self._temporary.name) if self._temporary else directory or Path()
        self._directory.mkdir(parents=True, exist_ok=True)
        for unfinished in self._directory.glob(".*"):
            unfinished.unlink()
        self._most_bytes = most_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sandbox-render")
        self._running: dict[Path, asyncio.Task[Rendered]] = {}
        self._kept: dict[Path, Rendered] = {}
        found = [(path.stat(), path) for path in self._directory.glob("[!.]*")]
        found.sort(key=lambda pair: pair[0].st_mtime_ns)
        self._sizes = {path: stat.st_size for stat, path in found}
        """Of all files that lie there, those of earlier processes too, the oldest first."""
        self.rendered = 0

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    async def file(self, key: str, name: str, make_picture: Callable[[], Picture]) -> Rendered:
        """The file `name` (`video.mp4`, `last_frame.png`) of `key`, rendered where it is not kept."""
        path = (self._directory / key).with_suffix(Path(name).suffix)
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        if path not in self._running:
            self._running[path] = asyncio.create_task(self._keep(path, name, make_picture))
        # A client that leaves must not take the rendering from the others who wait for it.
        return await asyncio.shield(self._running[path])

    async def _keep(self, path: Path, name: str, make_picture: Callable[[], Picture]) -> Rendered:
        loop = asyncio.get_running_loop()
        try:
            rendered = await loop.run_in_executor(self._threads, self._produce, path, name, make_picture)
        finally:
            del self._running[path]
        self._kept[path] = rendered
        self._sizes[path] = rendered.size
        self._trim(path)
        return rendered

    def _trim(self, newest: Path) -> None:
        """Removes old files, those of earlier processes too."""
        excess = sum(self._sizes.values()) - self._most_bytes
        for path, size in [*self._sizes.items()] if excess > 0 else []:
            if excess <= 0:
                return
            if path == newest or path in self._running:
                continue
            self._kept.pop(path, None)
            del self._sizes[path]
            path.unlink(missing_ok=True)
            excess -= size

    def _produce(self, path: Path, name: str, make_picture: Callable[[], Picture]) -> Rendered:
        if not path.exists():
            self.rendered += name != "last_frame.png"
            draft = path.with_name(f".{path.name}")
            RENDER[name](make_picture(), draft)
            draft.replace(path)
        return _measure(path)


def _measure(path: Path) -> Rendered:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Rendered(path, path.stat().st_size, f'"{digest[:32]}"')
