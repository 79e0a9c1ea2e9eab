"""The command on a terminal of its own, and a person who answers its questions."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_process import command, environment

CTRL_C, CTRL_D = "\x03", "\x04"
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_SECONDS = 60.0
_SECONDS_TO_HEAR = 5.0
"""`input()` misses a Ctrl-C that comes between its prompt and its wait for a key: a person presses again."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What was on the terminal, without its control codes, and the exit code."""

    text: str
    exit_code: int


def on_terminal(
    *arguments: str, cwd: Path, answers: Sequence[str] = (), question: str = r"[:)] $", columns: int = 80
) -> Shown:
    """Runs the command to its end. When what it printed ends as `question`, the next answer is typed.

    A control character is typed without Enter.
    """
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(TERM="xterm", NO_COLOR="1", COLUMNS=str(columns)),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    waiting, seen, since, typed = list(answers), "", "", ""
    ends = time.monotonic() + _SECONDS
    try:
        while chunk := _read(keyboard, ends, typed):
            text = _CODES.sub("", chunk).replace("\r", "")
            seen, since = seen + text, since + text
            if waiting and re.search(question, since):
                typed, since = waiting.pop(0), ""
                os.write(keyboard, (typed if typed in (CTRL_C, CTRL_D) else f"{typed}\n").encode())
        return Shown(seen, process.wait(_SECONDS))
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)


def _read(keyboard: int, ends: float, typed: str) -> str:
    """What was printed next, after `typed`; nothing once the command has ended."""
    while not select.select([keyboard], [], [], _SECONDS_TO_HEAR)[0]:
        if time.monotonic() > ends:
            raise TimeoutError("the command printed nothing and did not end")
        if typed == CTRL_C:
            os.write(keyboard, CTRL_C.encode())
    try:
        return os.read(keyboard, 65_536).decode(errors="replace")
    except OSError:  # Linux says so where the other side was closed
        return ""
