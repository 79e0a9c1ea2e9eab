"""One job, killed again and again and then brought to its end; the sandbox's count is the judge."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from runner.errors import ExitCode
from tests.chaos.oracle import Findings, judge
from tests.end_to_end.conftest import Film
from tests.support.command import environment

HEAD = """\
version: 1
request: {resolution: 480p, ratio: 1:1, duration: 4}
run: {settle: 1s, poll: {first: 100ms, min: 100ms, max: 200ms}}
"""

JOBS = {
    "seeds": "models: [byteplus/seedance-1-5-pro]\nseeds: 1..16\ncontent: [{type: text, text: A boat}]\n",
    "prompts": "models: [byteplus/seedance-1-5-pro]\nseeds: [7]\nmatrix: {shot: [a, b, c, d, e, f, g, h]}\n"
    'content: [{type: text, text: "A boat, shot ${{ shot }}"}]\n',
    "samples": "models: [byteplus/dreamina-seedance-2-0-260128]\nsamples: 12\n"
    "content: [{type: text, text: A boat}]\n",
}
"""Tasks that are told apart by seed, by the tag alone, and by nothing but the count."""

LAST_RUNS = 4
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a process dies: at the n-th passage of a point, or after so many seconds (`none`)."""

    backend: str
    point: str = "none"
    nth: int = 1
    seconds: float = PATIENCE


@dataclass(frozen=True, slots=True)
class Ended:
    """`killed` processes died of SIGKILL, the others had ended before their kill came."""

    killed: int
    exit_code: int
    findings: Findings
    told: str

    @property
    def is_right(self) -> bool:
        found = self.findings
        return self.exit_code == ExitCode.DONE and not found.double and not found.wrong


def play(film: Film, job: str, kills: Iterable[Kill]) -> Ended:
    """Runs `job` once for each kill, then to its end."""
    file = film.write(HEAD + JOBS[job])
    killed = sum(_run_until(film, film.line("run", file), kill) for kill in kills)
    for _ in range(LAST_RUNS):
        told = film.call("run", file)
        if told.returncode != ExitCode.TRY_AGAIN:
            break
    return Ended(killed, told.returncode, judge(film), told.stderr)


def start(film: Film, line: Iterable[object], kill: Kill) -> subprocess.Popen[str]:
    """The command `line` as a process that dies by `kill`, but for the kill's `seconds`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.victim", kill.backend, kill.point, str(kill.nth)]
        + [str(word) for word in line],
        cwd="/",
        env=environment(MESHAPI_API_KEY="rsk_sandbox"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run_until(film: Film, line: Iterable[object], kill: Kill) -> bool:
    process = start(film, line, kill)
    until = time.monotonic() + kill.seconds
    try:
        process.communicate(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode == -signal.SIGKILL
