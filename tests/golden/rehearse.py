"""Writes `rehearsed/project.tar.xz`, once and for all: `python -m tests.golden.rehearse`.

A later format of the ledger gets an archive of its own beside it. Everything is done with the command line
against the embedded sandbox, whose faults bring about what a service seldom does. The clock begins at START,
so that whatever ends with the life of a service's records has ended for every reader.
"""

from __future__ import annotations

import colorsys
import os
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

START = 1_580_716_800.0
"""2020-02-03 08:00 UTC, in Unix seconds."""
DAY = 86_400.0


class Clock:
    """Goes on from START as time passes, and leaps when told to."""

    def __init__(self) -> None:
        self._behind = time.time() - START
        self._read = time.time

    def __call__(self) -> float:
        return self._read() - self._behind

    def leap(self, seconds: float) -> None:
        self._behind -= seconds


CLOCK = Clock()
# before `runner` is imported, which takes the function into its defaults
time.time = CLOCK

import av  # noqa: E402
from PIL import Image  # noqa: E402

from runner.__main__ import main  # noqa: E402
from runner.errors import ExitCode  # noqa: E402
from runner.sandbox import Fault, Kind, SandboxServer, Where  # noqa: E402
from runner.sandbox.results import render  # noqa: E402
from runner.sandbox.results.picture import Picture  # noqa: E402
from tests.golden.rehearsed import JOBS, PROJECT  # noqa: E402

STUCK = Fault(where=Where.GET, kind=Kind.REGRESS, times=None)
UNLISTED = Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None)
OUT_OF_CREDIT = Fault(
    where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits", times=None
)
NOBODY_KNOWS = Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500)
CUT = Fault(where=Where.SUBMIT, kind=Kind.CUT)
CUT_AFTER_ACCEPTANCE = Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True)


def rehearse() -> None:
    """Every state of a task, every way to settle a doubt, each form of a file that a step takes."""
    _run("done")
    _edit("story", r"pick: .*", "pick: []")
    _run("story")
    _edit("story", r"pick: .*", "pick: [{seed: 2}]")
    _run("story")
    _run("finals")
    _run("getimg")
    _run("waiting")
    _run("nightly", "--date", "2020-02-02+00:00")
    _run("nightly", "--date", "2020-02-03+00:00")
    _edit("edited", r"seeds: .*", "seeds: 1..3")
    _run("edited", faults=[replace(OUT_OF_CREDIT, after=1)], ends=ExitCode.OUT_OF_MONEY)
    _edit("edited", r"seeds: .*", "seeds: 2..4")
    _run("edited")
    _run("edited", "--again", "s2")
    _failures()
    _settled_doubts()
    _lost_files()
    _open_tasks()


def _failures() -> None:
    failed = Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", code="internal_error")
    _run("failed", faults=[failed], ends=ExitCode.TASK_FAILED)
    _run("retried", faults=[failed], ends=ExitCode.TASK_FAILED)
    _call("retry", "--sandbox")
    _run("unpaid", faults=[OUT_OF_CREDIT], ends=ExitCode.OUT_OF_MONEY)


def _settled_doubts() -> None:
    _run("settled", "--only", "s1")
    _run("settled", "--only", "s2", faults=[CUT_AFTER_ACCEPTANCE])
    _run("settled", "--only", "s3", faults=[CUT])
    _run("settled", "--only", "s4", faults=[CUT])
    _call("reconcile", "s4", "--not-billed", "--sandbox")
    for name, answer in (("s5", "--write-off"), ("s6", "--again")):
        _run("settled", "--only", name, faults=[NOBODY_KNOWS], ends=ExitCode.PERSON_NEEDED)
        _call("reconcile", name, answer, "--sandbox")
    _run("settled", "--only", "s6", ends=ExitCode.TASK_FAILED)
    unknown = Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=True)
    _run("found", faults=[unknown, UNLISTED], ends=ExitCode.PERSON_NEEDED)
    _call("reconcile", "s1", "--write-off", "--sandbox")
    _run("found")


def _lost_files() -> None:
    """A last frame that the service never had, and a video that neither it nor we have any more."""
    no_frame = Fault(where=Where.GET, kind=Kind.LATE_FRAME, times=None)
    _run("frameless", "--deadline", "2s", faults=[no_frame], ends=ExitCode.TRY_AGAIN)
    CLOCK.leap(2 * DAY)
    _call("collect", "--sandbox", faults=[no_frame], ends=ExitCode.TASK_FAILED)
    _run("settled", ends=ExitCode.TASK_FAILED)
    _run("gone")
    Path("rehearsal/out/gone/s1.mp4").unlink()
    lost = Fault(where=Where.GET, kind=Kind.ANSWER, status=404, code="not_found", times=None)
    _run("gone", faults=[lost])


def _open_tasks() -> None:
    """Last, because every other run would look for them and fetch them."""
    _run("assumed", faults=[CUT])
    _run("held", faults=[NOBODY_KNOWS], ends=ExitCode.PERSON_NEEDED)
    no_file = Fault(where=Where.DOWNLOAD, kind=Kind.ANSWER, status=503, times=None)
    _run("flight", "--only", "s1", "--deadline", "2s", faults=[no_file], ends=ExitCode.TRY_AGAIN)
    stuck = [STUCK, no_file]
    _run("flight", "--only", "s[23]", "--deadline", "2s", faults=stuck, ends=ExitCode.TRY_AGAIN)
    _call("collect", "--give-up", "s3", "--yes", "--sandbox")
    stuck += [UNLISTED]
    _run("unclear", "--deadline", "2s", faults=[CUT_AFTER_ACCEPTANCE, *stuck], ends=ExitCode.TRY_AGAIN)
    _kill_within_a_post("killed")


def _kill_within_a_post(job: str) -> None:
    """What is left is an intent, of which nothing more is known."""
    child = os.fork()
    if not child:
        stalled = Fault(where=Where.SUBMIT, kind=Kind.STALL, seconds=60.0, accept=True)
        _run(job, faults=[stalled])
        os._exit(1)
    time.sleep(3.0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _run(job: str, *options: str, faults: list[Fault] | None = None, ends: ExitCode = ExitCode.DONE) -> None:
    _call("run", f"jobs/{job}.yaml", "--sandbox", *options, faults=faults, ends=ends)


def _call(*arguments: str, faults: list[Fault] | None = None, ends: ExitCode = ExitCode.DONE) -> None:
    enter = SandboxServer.__enter__

    def enter_with_faults(server: SandboxServer) -> SandboxServer:
        server.faults.add(*faults or ())
        return enter(server)

    print("$ callsheet", *arguments, flush=True)
    with patch.object(SandboxServer, "__enter__", enter_with_faults):
        code = ExitCode(main(arguments))
    if code is not ends:
        sys.exit(f"ended with {code!r}, not with {ends!r}")


def _edit(job: str, pattern: str, text: str) -> None:
    file = Path("jobs") / f"{job}.yaml"
    file.write_text(re.sub(pattern, text, file.read_text(encoding="utf-8"), count=1), encoding="utf-8")


def _colour(picture: Picture) -> tuple[int, int, int]:
    hue = int(picture.digest[:8], 16) / 2**32
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.7, 0.4 + picture.seed % 32 / 64)
    return round(255 * red), round(255 * green), round(255 * blue)


def write_video(picture: Picture, path: Path) -> None:
    """Two frames of one colour, so that the project is small and each of its videos another."""
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as box:
        stream = box.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(2):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), _colour(picture)))
            frame.pts = index
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))


def write_last_frame(picture: Picture, path: Path) -> None:
    Image.new("RGB", (304, 304), _colour(picture)).save(path, format="PNG")


def _pack(root: Path) -> None:
    """As the kill left it, without what is made again where it is missing."""
    for made in ("rehearsal/.callsheet/sandbox/rendered", "rehearsal/.callsheet/posters"):
        shutil.rmtree(root / made)
    for page in root.glob("rehearsal/runs/*/report.html"):
        page.unlink()
    with tarfile.open(PROJECT, "w:xz") as packed:
        packed.add(root, "project", filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
    return member


if __name__ == "__main__":
    if PROJECT.exists():
        sys.exit(f"{PROJECT.name} is frozen")
    os.environ |= {"TZ": "UTC", "HOME": tempfile.gettempdir()}
    time.tzset()
    files = {"video.mp4": write_video, "last_frame.png": write_last_frame}
    with tempfile.TemporaryDirectory() as directory, patch.dict(render.RENDER, files):
        root = Path(directory) / "project"
        shutil.copytree(JOBS, root / "jobs")
        os.chdir(root)
        _call("-q", "init")
        rehearse()
        _pack(root)
