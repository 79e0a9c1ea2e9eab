"""A picture of each video for the contact sheet, made once and kept by the video's digest."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.desk.contact_sheet import Video
from runner.errors import StateError
from runner.media.pictures import Picture, Wanted
from runner.media.readers import read
from runner.media.video import has_pyav
from runner.project import Project
from runner.store.files import FileStore, LocalFiles
from runner.work.crew import Lost, work
from runner.work.hire import Workers, hire

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
    project: Project,
    videos: Sequence[Video],
    witness: Path,
    *,
    patience: float,
    tell: Tell | None,
    workers: Workers | None = None,
) -> Mapping[str, Poster]:
    """The poster of each video, by path; after `patience` seconds no more are made.

    Kept in the state directory: a poster outlives the move of its video, and a resume makes none
    again. Without PyAV there are only those that were kept. Raises nothing for what a file is, and what
    `hire` does of `workers`, who have to see `witness`.
    """
    until = time.monotonic() + patience
    directory = project.state_dir / "posters"
    files = LocalFiles(project.base)
    kept = {video.path: Poster(_is_there(video, files), _kept(directory, video)) for video in videos}
    wanted = [video for video in videos if _is_wanted(kept[video.path])] if has_pyav() else []
    told = itertools.count(1)
    tell = tell or _tell_nobody
    for _ in range(len(videos) - len(wanted)):
        tell(next(told), len(videos))
    if not wanted:
        return kept
    with hire(workers, project.base, witness, files=len(wanted), modules=("av", "PIL")) as crew:
        in_time = itertools.takewhile(lambda _: time.monotonic() <= until, wanted)
        for video, made in work(crew, draw, str(project.base), in_time, expected=len(wanted)):
            picture = Picture(why=made.why) if isinstance(made, Lost) else made
            if picture.image is not None:
                _keep(directory, video, picture.image)
            kept[video.path] = Poster(is_there=True, image=picture.image, why=picture.why)
            tell(next(told), len(videos))
    return kept


def _tell_nobody(done: int, of: int) -> None: ...


def draw(base: str, video: Video) -> Picture:
    """A picture of a video below `base`; a worker's function."""
    try:
        with LocalFiles(Path(base)).open(Path(video.path)) as file:
            return read(file, Wanted.POSTER)
    except (OSError, StateError):  # one video's poster is missing then, and the page has all others
        return Picture()


def _is_wanted(poster: Poster) -> bool:
    return poster.is_there and poster.image is None


def _is_there(video: Video, files: FileStore) -> bool:
    try:
        return not video.is_lost and files.stat(Path(video.path)) is not None
    except (OSError, StateError, ValueError):  # ValueError: a NUL in a manifest that somebody wrote
        return False


def _place(directory: Path, video: Video) -> Path:
    return directory / f"{Path(video.sha256).name}.webp"


def _kept(directory: Path, video: Video) -> bytes | None:
    """The poster as it was kept; None where there is none, or where a power cut has torn it."""
    try:
        image = _place(directory, video).read_bytes()
    except OSError:
        return None
    # RIFF: the length of what follows stands in bytes 4 to 8
    return image if image[:4] == b"RIFF" and len(image) == int.from_bytes(image[4:8], "little") + 8 else None


def _keep(directory: Path, video: Video, image: bytes) -> None:
    # not synced: a poster can be made again, and a thousand of them would wait for the disk
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=directory, suffix=".partial")
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
        Path(partial).replace(_place(directory, video))
    except OSError:
        pass  # a full disk costs the next page some time
