"""The command `callsheet` as a real process, from any working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with the checkout importable from everywhere."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **changes}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "runner", *map(str, arguments)]


def callsheet(*arguments: str | Path, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; `changes` are environment variables."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=120,
    )
