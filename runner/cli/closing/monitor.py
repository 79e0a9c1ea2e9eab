"""Tells a monitor that a scheduled run has begun, and how it ended.

The protocol is that of healthchecks.io, which other monitors speak too: a POST to the URL with `/start`
at the beginning, to the URL itself after exit code 0, and with `/<exit code>` after any other. The URL
is a secret, and never shown. It comes from the environment, and from `.env` only where `--allow-env`
names it, so that no checkout decides where a run sends anything.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli import console
from runner.errors import CallsheetError, ExitCode, UsageError
from runner.http.access import is_loopback
from runner.job.project.environment import read_env

if TYPE_CHECKING:
    import httpx

VARIABLE = "CALLSHEET_PING_URL"

TIMEOUT = 10.0
"""Seconds for one ping: a monitor that hangs must not hold up a run."""

TRIES = 3


@dataclass(slots=True)
class Ending:
    """The message to the monitor at the end; `lines` are the body of the POST."""

    code: ExitCode = ExitCode.BUG
    lines: list[str] = field(default_factory=list)


@contextlib.contextmanager
def pinged(root: Path, allow_env: frozenset[str]) -> Iterator[Ending]:
    """Tells the monitor of the start and of the end of the block: its `Ending`, or the error raised.

    A monitor that does not answer changes nothing: a line on stderr says so. Raises UsageError where the
    variable is set neither in the environment nor, with `allow_env`, in `root`'s .env, or is not an
    https address.
    """
    url = _parse(read_env(root, os.environ, allow=allow_env & {VARIABLE}).get(VARIABLE, ""))
    _send(url, "/start", "")
    ending = Ending()
    try:
        yield ending
    except CallsheetError as error:
        ending.code = error.exit_code
        raise
    except KeyboardInterrupt:
        ending.code = ExitCode.INTERRUPTED
        raise
    finally:
        suffix = "" if ending.code is ExitCode.DONE else f"/{int(ending.code)}"
        _send(url, suffix, "\n".join(ending.lines))


# httpx is imported in the functions below: it takes 0.1 s, and few runs have a monitor


def _parse(text: str) -> httpx.URL:
    import httpx

    hint = f"set {VARIABLE}=https://... in the environment"
    if not text:
        raise UsageError(f"--ping: {VARIABLE} is not set", hint=hint)
    try:
        url = httpx.URL(text)
        is_fit = url.scheme == "https" or (url.scheme == "http" and is_loopback(text))
    except (httpx.InvalidURL, ValueError):
        raise UsageError(f"--ping: {VARIABLE} is not a URL", hint=hint) from None
    if not is_fit:
        raise UsageError(f"--ping: {VARIABLE} is not an https address", hint=hint)
    return url


def _send(url: httpx.URL, suffix: str, body: str) -> None:
    import httpx

    target = url.copy_with(path=url.path.rstrip("/") + suffix)
    said = ""
    for again in range(TRIES):
        time.sleep(again)
        try:
            # the body is not read: a monitor that drips it must not keep the process alive
            with httpx.stream(
                "POST", target, content=body.encode(), timeout=TIMEOUT, trust_env=False
            ) as answer:
                pass
        except Exception as error:  # whatever is wrong with a monitor, the run goes on
            said = type(error).__name__
            continue
        if answer.is_success:
            return
        said = f"status {answer.status_code}"
    console.error(f"the monitor at {url.host} was not told: {said}; the run is not affected")
