"""A command in a terminal of its own, and what stands on its screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

ROWS = 40
_ERASING = re.compile(rb"(?=\r\x1b\[2K)")
"""Where the place of the last frame is cleared for the next one."""


@dataclass(slots=True)
class Screen:
    """A pty with a terminal emulator at its end. It cuts lines when it gets narrower, as xterm does."""

    columns: int
    master: int
    process: subprocess.Popen[bytes]
    screen: pyte.Screen = field(init=False)
    stream: pyte.ByteStream = field(init=False)
    snapshots: list[list[str]] = field(default_factory=list)
    """The rows of the screen after each piece of output, without trailing blanks and empty rows."""
    colours: set[str] = field(default_factory=set)
    """Foreground colours that were ever on the screen."""

    def __post_init__(self) -> None:
        self.screen = pyte.Screen(self.columns, ROWS)
        self.stream = pyte.ByteStream(self.screen)

    @property
    def rows(self) -> list[str]:
        shown = [row.rstrip() for row in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def read(self, seconds: float = 0.2) -> bool:
        """Takes what is printed within that time; False where the process has closed the terminal."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # EIO: nobody has it open any more
            return False
        # who reads late gets several frames at once: each is looked at before it is taken away
        for piece in _ERASING.split(data):
            self.stream.feed(piece)
            self.snapshots.append(self.rows)
            self.colours |= {
                cell.fg for row in self.screen.buffer.values() for cell in row.values() if cell.data.strip()
            }
        return bool(data)

    def wait_until(self, holds: Callable[[list[str]], bool], seconds: float = 60.0) -> list[str]:
        """The rows once `holds` is true of them; AssertionError where it never is."""
        ends = time.monotonic() + seconds
        while not holds(self.rows):
            assert time.monotonic() < ends, "\n".join(self.rows)
            assert self.read(), "\n".join(self.rows)
        return self.rows

    def end(self, seconds: float = 60.0) -> int:
        """Reads to the end of the process; its exit code."""
        ends = time.monotonic() + seconds
        while self.read():
            assert time.monotonic() < ends, "\n".join(self.rows)
        return self.process.wait(seconds)

    def resize(self, columns: int) -> None:
        self.columns = columns
        self.screen.resize(ROWS, columns)
        _set_size(self.master, columns)


@contextlib.contextmanager
def in_terminal(
    command: Sequence[str], columns: int, cwd: Path, environment: Mapping[str, str]
) -> Iterator[Screen]:
    """Starts `command` with this terminal as its stdin, stdout and stderr."""
    master, slave = pty.openpty()
    _set_size(slave, columns)
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        yield Screen(columns, master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


def _set_size(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
