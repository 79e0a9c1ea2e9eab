"""Processes in which FFmpeg reads: what it does to one costs one file."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.errors import StateError
from runner.media import readers
from runner.media.pictures import Picture, Wanted
from runner.media.readers import Readers
from tests.support.clips import make_clip
from tests.support.command_process import environment

STAND_IN = """\
import os, resource, signal, time
from runner.media import pictures

def read(file, wanted):
    file.seek(0)
    name = file.read()
    if name == b"crash":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == b"for ever":
        time.sleep(600)
    if name == b"all memory":
        bytearray(1 << 40)
    if name == b"environment":
        return pictures.Picture(why=" ".join(sorted(os.environ)))
    if name == b"leaves":
        os._exit(3)
    if name == b"idle for long":
        os._exit(0)
    if name.startswith(b"idle until ") and not os.path.exists(name[11:]):
        open(name[11:], "x")
        os._exit(0)
    return pictures.Picture(image=name, why=wanted.name)

pictures.read_picture = read
signal.alarm = lambda seconds: signal.setitimer(signal.ITIMER_REAL, {limit} if seconds else 0)
pictures.main()
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, seconds: float = 600) -> None:
    """A process that does what the file says, and takes at most so many seconds for it."""
    script = STAND_IN.replace("{limit}", str(seconds))
    monkeypatch.setattr(readers, "_COMMAND", (sys.executable, "-P", "-c", script))


def read(running: Readers, folder: Path, content: bytes) -> Picture:
    file = folder / "file"
    file.write_bytes(content)
    with file.open("rb") as opened:
        return running.submit(running.read, opened, Wanted.CHECK).result()


@pytest.mark.security(26)
def test_no_key_stands_in_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_canary")
    with Readers() as running:
        assert "PATH" in read(running, tmp_path, b"environment").why.split()
        assert "KEY" not in read(running, tmp_path, b"environment").why


def test_a_real_file_is_read_by_a_real_process(tmp_path: Path) -> None:
    with Readers() as running:
        assert read(running, tmp_path, make_clip()) == Picture()
        assert "HTML" in read(running, tmp_path, b"<html>").why


@pytest.mark.fault(80)
@pytest.mark.security(26)
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"crash", "FFmpeg crashed over the video (signal 11)"),
        (b"leaves", "FFmpeg crashed over the video (exit code 3)"),
        (b"idle for long", "FFmpeg crashed over the video (exit code 0)"),
        (b"all memory", "FFmpeg crashed over the video (exit code 1)"),
        (b"for ever", "FFmpeg took more than 30 s to read the video"),
    ],
)
def test_whatever_becomes_of_a_process_one_file_is_told(
    bad: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, 0.05 if bad == b"for ever" else 600)
    with Readers() as running:
        for content in (bad,) if bad == b"for ever" else (b"one", bad, b"two", bad, b"three"):
            expected = Picture(why=why) if content == bad else Picture(content, "CHECK")
            assert read(running, tmp_path, content) == expected


def test_a_process_that_leaves_as_a_file_comes_says_nothing_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    content = b"idle until " + bytes(tmp_path / "left")
    with Readers() as running:
        assert read(running, tmp_path, content) == Picture(content, "CHECK")


@pytest.mark.fault(47)
def test_an_interrupt_ends_what_is_being_read_and_drops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    (tmp_path / "file").write_bytes(b"for ever")
    running = Readers()
    begun = threading.Event()

    def read_one() -> Picture:
        with (tmp_path / "file").open("rb") as file:
            begun.set()
            return running.read(file, Wanted.CHECK)

    futures = [running.submit(read_one) for _ in range(50)]
    begun.wait()
    running.__exit__()
    assert all(future.done() for future in futures)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")] == []
    with pytest.raises(StateError):
        running._start()


def test_a_process_ends_with_the_one_that_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(readers._COMMAND, stdin=theirs.fileno(), env=environment())
    theirs.close()
    assert ours.recv(3) == b"{}\n"
    ours.close()
    assert child.wait(30) == 0


@pytest.mark.parametrize(
    "command", [("/nowhere/python",), (sys.executable, "-c", "import nothing_of_that_name")]
)
def test_an_ffmpeg_that_does_not_start_says_nothing_against_a_file(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_COMMAND", command)
    with Readers() as running:
        for _ in range(2):
            with pytest.raises(StateError, match="cannot start"):
                read(running, tmp_path, make_clip())


SCRIPT = """\
import sys
from runner.media.pictures import Wanted
from runner.media.readers import Readers

print("once")
with Readers() as readers, open(sys.argv[1], "rb") as file:
    print(readers.read(file, Wanted.POSTER).image is not None)
"""


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """multiprocessing, and whatever stands on it, would import it again in each process."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "clip.mp4").write_bytes(make_clip())
    # modules of these names in the working directory are not ours
    for name in ("av", "runner", "json"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise SystemExit", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "clip.mp4"],
        cwd=tmp_path / "here",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("once\nTrue\n", "")
