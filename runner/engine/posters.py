"""A picture of each video for the contact sheet, made once and kept by the video's digest."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from runner.engine.files import FileStore, LocalFiles
from runner.engine.media import has_pyav
from runner.errors import StateError
from runner.project import Project
from runner.record.report import Poster
from runner.record.sheet.build import Video

LONGEST_SIDE = 320
"""Pixels: twice a small tile, for screens of double density; some 4 to 12 kB as WebP."""
_QUALITY = 68
_MOST_FRAMES = 240
"""Frames decoded on the way to the middle: ten seconds at 24 frames a second."""
_MOST_PIXELS = 64_000_000
_MOST_THREADS = 4


def posters(project: Project, videos: Iterable[Video], *, patience: float) -> Mapping[str, Poster]:
    """The poster of each video, by path. Those that `patience` seconds do not suffice for have none.

    Kept in the state directory: a poster outlives the move of its video, and a resume makes none
    again. Without PyAV there are only those that were kept. Raises nothing for what a file is.
    """
    until = time.monotonic() + patience
    directory = project.state_dir / "posters"
    files = LocalFiles(project.base)

    def find(video: Video) -> tuple[str, Poster]:
        return video.path, _poster(video, directory, files, until)

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as workers:
        return dict(workers.map(find, videos))


def _poster(video: Video, directory: Path, files: FileStore, until: float) -> Poster:
    try:
        is_there = files.stat(Path(video.path)) is not None
    except (OSError, StateError, ValueError):  # ValueError: a NUL in a manifest that somebody wrote
        is_there = False
    kept = directory / f"{Path(video.sha256).name}.webp"
    image = _kept(kept)
    if image is not None:
        return Poster(is_there, image)
    if not is_there or time.monotonic() > until or not has_pyav():
        return Poster(is_there)
    try:
        with files.open(Path(video.path)) as file:
            image = make_poster(file)
    except Exception:  # one video's poster is missing then, and the page has all others
        return Poster(is_there)
    if image is not None:
        _keep(kept, image)
    return Poster(is_there, image)


def _kept(kept: Path) -> bytes | None:
    """The poster as it was kept; None where there is none, or where a power cut has torn it."""
    try:
        image = kept.read_bytes()
    except OSError:
        return None
    # RIFF: the length of what follows stands in bytes 4 to 8
    return image if image[:4] == b"RIFF" and len(image) == int.from_bytes(image[4:8], "little") + 8 else None


def _keep(kept: Path, image: bytes) -> None:
    # not synced: a poster can be made again, and a thousand of them would wait for the disk
    try:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=kept.parent, suffix=".partial")
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
        Path(partial).replace(kept)
    except OSError:
        pass  # a full disk costs the next page some time


def make_poster(file: BinaryIO) -> bytes | None:
    """A frame from the middle of the video as WebP, at most LONGEST_SIDE wide and high.

    From the middle: takes that begin with one picture all look alike at their first frame. None
    where PyAV or Pillow cannot read it or are not installed.
    """
    # imported here: an optional extra that takes 150 ms to load
    import av

    try:
        with av.open(file, mode="r", format="mp4", metadata_errors="replace") as container:
            video = container.streams.video[0]
            # no context: a codec that this FFmpeg does not know
            if video.codec_context is None or video.width * video.height > _MOST_PIXELS:
                return None
            # reference frames alone show where the middle is, in half the time
            video.codec_context.skip_frame = "NONREF"
            middle = (video.duration or 0) // 2
            container.seek(middle, stream=video, backward=True)
            frame = None
            for number, frame in enumerate(container.decode(video)):
                if number == _MOST_FRAMES or (frame.pts or 0) >= middle:
                    break
            if frame is None:
                return None
            scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
            width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
            image = frame.to_image(width=width, height=height)  # type: ignore[no-untyped-call]  # as PyAV ships it
    except (av.FFmpegError, IndexError, ValueError, ImportError):
        return None
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=2)
    return out.getvalue()
