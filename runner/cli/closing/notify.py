"""Tells whoever `notify` of the project file names how jobs ended: one POST, or one command.

What goes wrong here is told, and changes neither the exit code nor what was done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import __version__
from runner.cli import console
from runner.errors import INTERRUPTS, ExitCode
from runner.http.access import is_loopback
from runner.job.project.environment import key_names, read_env
from runner.job.project_file import Notify, NotifyOn
from runner.json_value import JsonValue
from runner.redact import json_text, printable

POST_SECONDS = 20.0
COMMAND_SECONDS = 60.0
"""How long the end of a run may wait: for the POST with its connection, and for the command."""

OCCASIONS: Mapping[ExitCode, NotifyOn] = {
    ExitCode.TASK_FAILED: NotifyOn.FAILED,
    ExitCode.JOB_INVALID: NotifyOn.FAILED,
    ExitCode.INPUT_MISSING: NotifyOn.FAILED,
    ExitCode.UNREACHABLE: NotifyOn.FAILED,
    ExitCode.BUG: NotifyOn.FAILED,
    ExitCode.NO_PROJECT: NotifyOn.FAILED,
    ExitCode.CANNOT_WRITE: NotifyOn.FAILED,
    ExitCode.KEY_REFUSED: NotifyOn.FAILED,
    ExitCode.PERSON_NEEDED: NotifyOn.HELD,
    ExitCode.REFUSED: NotifyOn.BUDGET,
    ExitCode.OUT_OF_MONEY: NotifyOn.BUDGET,
}
"""What each end of a job is told as. After the codes that are missing here the next start goes on by itself,
or the person knows who has ended it.
"""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How one job ended. `conditions` are all that hold; `is_done_now`: it has become done by this start.

    `line` is the end in words, `document` what --output-format jsonl prints of it.
    """

    conditions: frozenset[ExitCode]
    is_done_now: bool
    is_rehearsal: bool
    line: str
    document: Mapping[str, JsonValue]

    @property
    def occasions(self) -> frozenset[NotifyOn]:
        found = {OCCASIONS[code] for code in self.conditions if code in OCCASIONS}
        return frozenset(found | ({NotifyOn.DONE} if self.is_done_now and not found else set()))


def notify(
    wanted: Notify | None,
    ends: Iterable[JobEnd],
    code: ExitCode,
    *,
    root: Path,
    allow_env: frozenset[str],
    trust_env: bool = False,
) -> None:
    """Sends one message about those `ends` that are `wanted`; none about rehearsals and interrupted runs."""
    if wanted is None or code in INTERRUPTS:
        return
    told = [end for end in ends if not end.is_rehearsal and end.occasions & wanted.on]
    if not told:
        return
    on = frozenset[NotifyOn]().union(*(end.occasions for end in told)) & wanted.on
    message = json_text(
        {
            "text": "\n".join(end.line for end in told),
            "on": [occasion for occasion in NotifyOn if occasion in on],
            "project": root.name,
            "exit_code": int(code),
            "jobs": [dict(end.document) for end in told],
        }
    )
    try:
        if wanted.command:
            said = _run(wanted.command, message, root)
        else:
            said = _post(wanted.url_env, message, root, allow_env, trust_env=trust_env)
    except Exception as error:  # whatever is wrong with it, the jobs have ended as they did
        said = type(error).__name__
    if said:
        console.error(f"notify: nobody was told: {printable(said)}; the run is not affected")


def _post(name: str, message: str, root: Path, allow_env: frozenset[str], *, trust_env: bool) -> str:
    """What went wrong; empty where it was taken. The address is a secret: only its variable is named."""
    url = read_env(root, os.environ, allow=allow_env & {name}).get(name, "").strip()
    if not url:
        return f"{name} is not set; hint: set it in the environment, or in .env with --allow-env {name}"
    if not _is_fit(url):
        return f"{name} is not an https address"
    said: list[str] = []
    # a thread, for no time limit of a client bounds the resolving of a name
    sender = threading.Thread(target=lambda: said.append(_send(url, message, trust_env)), daemon=True)
    sender.start()
    sender.join(POST_SECONDS)
    return f"{name}: {said[0]}" if said and said[0] else "" if said else f"{name}: no answer in time"


def _is_fit(url: str) -> bool:
    try:
        return url.startswith("https://") or (url.startswith("http://") and is_loopback(url))
    except ValueError:
        return False


def _send(url: str, message: str, trust_env: bool) -> str:
    # imported here: it takes 0.1 s, and few projects tell anybody
    import httpx

    headers = {"content-type": "application/json", "user-agent": f"callsheet/{__version__}"}
    try:
        # no redirect is followed, and no body is read
        with httpx.stream(
            "POST",
            url,
            content=message.encode(),
            headers=headers,
            timeout=POST_SECONDS,
            follow_redirects=False,
            # a proxy of the environment would get what is meant for this machine, path and all
            trust_env=trust_env and not is_loopback(url),
        ) as answer:
            return "" if answer.is_success else f"status {answer.status_code}"
    except Exception as error:  # its text may hold the address
        return type(error).__name__


def _run(command: Sequence[str], message: str, root: Path) -> str:
    """What went wrong; empty where it ended with 0. No shell reads it, and its environment has no API key."""
    keys = key_names(root)
    environment = {name: value for name, value in os.environ.items() if name not in keys}
    try:
        process = subprocess.Popen(  # noqa: S603  the project's owner wrote it
            list(command),
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            # stdout is for results
            stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    try:
        process.communicate(message.encode(), COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{command[0]}: was still running after {COMMAND_SECONDS:.0f} s"
    return f"{command[0]}: exit code {process.returncode}" if process.returncode else ""


def _has_descriptor() -> bool:
    try:
        return sys.stderr.fileno() >= 0
    except (OSError, ValueError):
        return False
