"""FFmpeg's reading of a stranger's video, in a process that does nothing else (`readers` starts it).

FFmpeg is a million lines of C over bytes that anybody may have made: what it does to its process (a crash,
all memory, a loop without end) costs the picture of one file.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import io
import json
import os
import resource
import select
import signal
import socket
from dataclasses import dataclass
from typing import BinaryIO

from runner.media.boxes import NotMediaError
from runner.media.containers import recognise
from runner.media.video import read_index

LONGEST_SIDE = 320
"""Pixels: twice a small tile, for screens of double density; some 4 to 12 kB as WebP."""
MOST_SECONDS = 30
"""For one file; a clip of 4K takes one."""
_MOST_IDLE_SECONDS = 60.0
"""A worker of a cluster lives on; 60 MB for each of its threads need not."""
_QUALITY = 68
_MOST_FRAMES = 240
"""Frames decoded on the way to the middle: ten seconds at 24 frames a second."""
_MOST_PIXELS = 64_000_000
_MOST_SAMPLES = 2_000_000
"""Nine hours at 60 fps. FFmpeg makes a table of all samples that an index claims, however small the file."""
_MOST_MEMORY = 3 << 30
"""Of addresses; 8K takes half of it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """`image`: a frame of the video as WebP; None where there is none. `why`: what is wrong with the file;
    empty where nothing is, or where nobody can tell.
    """

    image: bytes | None = None
    why: str = ""


class Wanted(enum.Enum):
    """What is asked about a file; a byte on the way to the process."""

    POSTER = b"p"
    CHECK = b"c"
    """Whether FFmpeg reads it: its first frame, in a third of a poster's time."""


def read_picture(file: BinaryIO, wanted: Wanted) -> Picture:
    """A frame from the middle of a video, at most LONGEST_SIDE wide and high.

    From the middle: takes that begin with one picture all look alike at their first frame. A codec that
    this FFmpeg does not know, or an index too large for it, says nothing against the file.
    """
    # imported here: an optional extra that takes 150 ms to load
    import av

    try:
        other = recognise(file, file.seek(0, io.SEEK_END))
        if other is None and read_index(file).samples > _MOST_SAMPLES:
            return Picture()
        file.seek(0)
        # the format is given: FFmpeg's playlist readers would open addresses named in the file; while it
        # opens the file it needs no frames, and would decode one to learn what the index says
        with av.open(
            file,
            mode="r",
            format="mp4" if other is None else other.demuxer,
            metadata_errors="replace",
            options={"skip_frame": "all"},
        ) as container:
            video = container.streams.video[0]
            # no context: a codec that this FFmpeg does not know
            if video.codec_context is None or video.width * video.height > _MOST_PIXELS:
                return Picture()
            # each core has a process of its own
            video.codec_context.thread_count = 1
            # reference frames alone show where the middle is, in half the time
            video.codec_context.skip_frame = "NONREF"
            middle = (video.duration or 0) // 2 if wanted is Wanted.POSTER else 0
            frame = None
            for start in {middle: None, 0: None}:  # a stream (MPEG-TS) may have nothing behind its middle
                container.seek(start, stream=video, backward=True)
                for number, frame in enumerate(container.decode(video)):
                    if number == _MOST_FRAMES or (frame.pts or 0) >= start:
                        break
                if frame is not None:
                    break
            if frame is None:
                return Picture(why="FFmpeg finds no picture in the video")
            if wanted is Wanted.CHECK:
                return Picture()
            scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
            width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
            image = frame.to_image(width=width, height=height)  # type: ignore[no-untyped-call]  # as PyAV ships it
    except NotMediaError as error:
        return Picture(why=str(error))
    except ImportError:
        # Pillow is not there
        return Picture()
    except Exception as error:  # whatever a library does with a stranger's bytes, they are the cause
        return Picture(why=f"FFmpeg cannot read the video ({type(error).__name__})")
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=2)
    return Picture(out.getvalue())


def main() -> None:
    """Answers each open file that comes through standard input, a socket, until that is closed.

    An answer is a line of JSON. The first one says that FFmpeg is loaded. Asked nothing for long, it ends.
    """
    import av  # noqa: F401  as above

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    with socket.socket(fileno=0) as asker:
        asker.sendall(b"{}\n")
        while select.select([asker], [], [], _MOST_IDLE_SECONDS)[0]:
            asked, files, *_ = socket.recv_fds(asker, 1, 1)
            if not files:
                return
            # kills this process, wherever it is by then
            signal.alarm(MOST_SECONDS)
            with os.fdopen(files[0], "rb") as file:
                picture = read_picture(file, Wanted(asked))
            signal.alarm(0)
            image = None if picture.image is None else base64.b64encode(picture.image).decode()
            asker.sendall(json.dumps({"image": image, "why": picture.why}).encode() + b"\n")


if __name__ == "__main__":
    main()
