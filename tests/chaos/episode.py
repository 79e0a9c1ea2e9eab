"""One job, killed again and again and then brought to its end; the sandbox's count is the judge."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY
from runner.sandbox.validation import DEFAULT_EXPIRY
from tests.chaos.victim import Order
from tests.support.command_process import environment
from tests.support.oracle import Findings, judge
from tests.support.process_bench import ProcessBench

HEAD = """\
version: 1
request: {resolution: 480p, ratio: 1:1, duration: 4}
run: {settle: 1s, poll: {first: 100ms, min: 100ms, max: 200ms}}
"""

JOBS = {
    "seeds": "models: [byteplus/seedance-1-0-pro]\nseeds: 1..16\ncontent: [{type: text, text: A boat}]\n",
    "prompts": "models: [byteplus/seedance-1-0-pro]\nseeds: [7]\nmatrix: {shot: [a, b, c, d, e, f, g, h]}\n"
    'content: [{type: text, text: "A boat, shot ${{ shot }}"}]\n',
    "samples": "models: [byteplus/dreamina-seedance-2-0-260128]\nsamples: 12\n"
    "content: [{type: text, text: A boat}]\n",
}
"""Tasks that are told apart by seed, by the tag alone, and by nothing but the count."""

LAST_RUNS = 4
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a process dies: at the n-th passage of a point, or after so many seconds (`none`).

    With a rival, another process starts in the same project beside it.
    """

    backend: str
    point: str = "none"
    nth: int = 1
    seconds: float = PATIENCE
    has_rival: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """`killed` processes died of SIGKILL, the others had ended before their kill came; `refused` rivals
    met a living one and went away. `held` tasks waited for a person, who settled them."""

    killed: int
    refused: int
    held: int
    exit_code: int
    findings: Findings
    told: str

    @property
    def is_right(self) -> bool:
        found = self.findings
        return self.exit_code == ExitCode.DONE and not found.double and not found.wrong


class Nursery:
    """Forks victims, one at a time, with `home` as their home directory."""

    def __init__(self, home: Path) -> None:
        self._running: int | None = None
        # unbuffered: select must see whatever has not been read
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.victim"],
            cwd="/",
            env=environment(MESHAPI_API_KEY=SANDBOX_KEY, HOME=str(home)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:  # it may stand still for ever
            os.kill(self._running, signal.SIGKILL)
        self._parent.communicate()

    def start(self, line: Iterable[object], kill: Kill, log: Path) -> int:
        """The pid of a new process; `wait` must follow. `log` gets what it says."""
        return self.send(Order([*map(str, line)], str(log), kill.backend, kill.point, kill.nth))

    def send(self, order: Order) -> int:
        """The same, of any order."""
        assert self._parent.stdin is not None
        assert self._running is None, "one at a time"
        self._parent.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._running = self._answer()
        return self._running

    def wait(self, pid: int, seconds: float) -> int:
        """The exit status, negative for a signal; -SIGSTOP says that it stands still, and `wait` must follow.
        Kills the process after so many seconds.
        """
        assert self._parent.stdout is not None
        if not select.select([self._parent.stdout], [], [], seconds)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = self._answer()
        if status != -signal.SIGSTOP:
            self._running = None
        return status

    def _answer(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


def play(
    film: ProcessBench, nursery: Nursery, job: str, kills: Iterable[Kill], rivals: Nursery | None = None
) -> Ended:
    """Runs `job` once for each kill, then to its end; `rivals` forks the second processes."""
    file = film.write(HEAD + JOBS[job])
    line, log = film.line("run", file), film.root / "victims.log"
    killed = refused = 0
    for kill in kills:
        pid = nursery.start(line, kill, log)
        if kill.has_rival and rivals is not None:
            rival = rivals.start(line, Kill(kill.backend), log)
            refused += rivals.wait(rival, PATIENCE) == ExitCode.TRY_AGAIN
        killed += nursery.wait(pid, kill.seconds) == -signal.SIGKILL
    told = _end(film, file)
    held = 0
    if told.returncode == ExitCode.PERSON_NEEDED:
        held = settle_by_hand(film)
        told = _end(film, file)
    return Ended(killed, refused, held, told.returncode, judge(film), told.stderr)


def _end(film: ProcessBench, file: Path) -> subprocess.CompletedProcess[str]:
    for _ in range(LAST_RUNS):
        told = film.call("run", file)
        if told.returncode != ExitCode.TRY_AGAIN:
            break
    return told


def settle_by_hand(film: ProcessBench) -> int:
    """Does what a person does who sees at the service what was accepted; gives the number of held tasks.

    A tag is what `execution_expires_after` is short of the service's own default.
    A project that is killed before its first task has come back believes no tag yet: of equal seeds
    nothing tells then which generation is whose.
    """
    came = {DEFAULT_EXPIRY - task.request["execution_expires_after"]: task.id for task in film.server.tasks()}
    shown = json.loads(film.call("reconcile", "--output-format", "json").stdout)
    # what was taken for absent is listed too, and waits for nobody
    listed = [one for one in shown if one["state"] not in ("absent", "again")]
    for one in listed:
        answer = ["--adopt", came[one["tag"]]] if one["tag"] in came else ["--again"]
        settled = film.call("reconcile", one["identity"], *answer)
        assert settled.returncode == ExitCode.DONE, settled.stderr
    return len(listed)
