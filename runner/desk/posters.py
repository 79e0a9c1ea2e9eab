"""A picture of each video for the contact sheet, made once and kept by the video's digest."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.desk.contact_sheet import Video
from runner.errors import StateError
from runner.media.pictures import Wanted
from runner.media.readers import Readers
from runner.media.video import has_pyav
from runner.project import Project
from runner.store.files import FileStore, LocalFiles

Tell = Callable[[int, int], None]
"""Hears how many of all posters are there."""


@dataclass(frozen=True, slots=True)
class Poster:
    """A video's picture (`image`, WebP; None where there is none yet), and whether its file is there.

    `why` says why no picture could be made.
    """

    is_there: bool
    image: bytes | None = None
    why: str = ""


def posters(
    project: Project, videos: Sequence[Video], *, patience: float, tell: Tell | None
) -> Mapping[str, Poster]:
    """The poster of each video, by path; after `patience` seconds no more are made.

    Kept in the state directory: a poster outlives the move of its video, and a resume makes none
    again. Without PyAV there are only those that were kept. Raises nothing for what a file is.
    """
    until = time.monotonic() + patience
    directory = project.state_dir / "posters"
    files = LocalFiles(project.base)
    made: dict[str, Poster] = {}
    with Readers(len(videos)) as readers:

        def find(video: Video) -> Poster:
            return _poster(video, directory, files, readers, until)

        for number, (video, poster) in enumerate(zip(videos, readers.map(find, videos), strict=True), 1):
            made[video.path] = poster
            if tell is not None:
                tell(number, len(videos))
    return made


def _poster(video: Video, directory: Path, files: FileStore, readers: Readers, until: float) -> Poster:
    try:
        is_there = not video.is_lost and files.stat(Path(video.path)) is not None
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
            picture = readers.read(file, Wanted.POSTER)
    except (OSError, StateError):  # one video's poster is missing then, and the page has all others
        return Poster(is_there)
    if picture.image is not None:
        _keep(kept, picture.image)
    return Poster(is_there, picture.image, picture.why)


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
