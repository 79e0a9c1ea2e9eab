"""Ready units for what starts callsheet by itself: cron, systemd, GitHub Actions. Pure text.

All three do the same: the jobs once a day, and `collect` every hour and at boot, because results
vanish 24 hours after they were made.
"""

from __future__ import annotations

import datetime
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLLECT_MINUTE = 17
"""Of each hour: apart from the full hour, at which everybody's jobs begin."""


@dataclass(frozen=True, slots=True)
class Nightly:
    """What is to be started. `command` is how callsheet is called, as a list of words."""

    name: str
    command: Sequence[str]
    root: Path
    jobs: Sequence[Path]
    at: datetime.time
    wait: str
    deadline: str
    yes: bool
    allow_env: Sequence[str]
    trust_job: bool
    ping: bool

    @property
    def run(self) -> list[str]:
        options = ["--quiet", "--root", str(self.root), "--wait", self.wait, "--deadline", self.deadline]
        for name in self.allow_env:
            options += ["--allow-env", name]
        flags = {"--trust-job": self.trust_job, "--yes": self.yes, "--ping": self.ping}
        options += [flag for flag, is_given in flags.items() if is_given]
        return [*self.command, "run", *options, *map(str, self.jobs)]

    @property
    def collect(self) -> list[str]:
        return [*self.command, "collect", "--quiet", "--root", str(self.root), "--wait", "10m"]


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file by its usual name, and its text."""

    name: str
    text: str


def crontab(nightly: Nightly) -> list[UnitFile]:
    """Three lines for `crontab -e`. What is said goes to a log in the state directory (crontab(5))."""
    log = shlex.quote(str(nightly.root / ".callsheet" / "cron.log"))

    def line(when: str, words: Sequence[str]) -> str:
        # an unescaped % would end the command and begin its input
        command = f"{shlex.join(words)} >> {log} 2>&1".replace("%", r"\%")
        return f"{when} {command}\n"

    text = (
        f"# callsheet {nightly.name}: the jobs each night, and what is in flight every hour and at boot\n"
        + line(f"{nightly.at.minute} {nightly.at.hour} * * *", nightly.run)
        + line(f"{COLLECT_MINUTE} * * * *", nightly.collect)
        + line("@reboot", nightly.collect)
    )
    return [UnitFile(f"callsheet-{nightly.name}.crontab", text)]


def systemd(nightly: Nightly) -> list[UnitFile]:
    """Two services with their timers, for ~/.config/systemd/user (systemd.service(5), systemd.timer(5))."""

    def service(description: str, words: Sequence[str]) -> str:
        return (
            f"[Unit]\nDescription={_specifier_free(description)}\n\n"
            "[Service]\nType=oneshot\n"
            f"WorkingDirectory={_specifier_free(str(nightly.root))}\n"
            f"ExecStart={' '.join(map(_systemd_word, words))}\n"
            "# 75: another run is at work, or time is up; it goes on at its next start\n"
            "SuccessExitStatus=75\n"
            "# the first SIGTERM persists everything; a POST under way gets its 10 seconds\n"
            "TimeoutStopSec=60\n"
        )

    def timer(description: str, *when: str) -> str:
        lines = "".join(f"{line}\n" for line in when)
        return f"[Unit]\nDescription={description}\n\n[Timer]\n{lines}\n[Install]\nWantedBy=timers.target\n"

    name = f"callsheet-{nightly.name}"
    jobs, in_flight = f"callsheet: {nightly.name}", "callsheet: fetch what is in flight"
    return [
        UnitFile(f"{name}.service", service(jobs, nightly.run)),
        UnitFile(
            f"{name}.timer",
            timer("each night", f"OnCalendar=*-*-* {nightly.at:%H:%M}:00", "Persistent=true"),
        ),
        UnitFile(f"{name}-collect.service", service(in_flight, nightly.collect)),
        UnitFile(
            f"{name}-collect.timer",
            timer("every hour and at boot", f"OnCalendar=*-*-* *:{COLLECT_MINUTE}:00", "OnBootSec=2min"),
        ),
    ]


def github(nightly: Nightly) -> list[UnitFile]:
    """One workflow, for a runner of your own: the ledger has to be there the next night."""
    group = f"callsheet-{nightly.name}-${{{{ github.event.schedule }}}}"
    # 75: another run is at work, or time is up; it goes on at its next start
    passing = " || test $? -eq 75"
    # JSON strings are YAML strings, and quote whatever the paths hold
    text = f"""\
# callsheet {nightly.name}. It needs a runner of your own, on the machine that holds the project:
# a hosted one begins with an empty disk, without the ledger that says what was paid for.
name: {json.dumps(f"callsheet {nightly.name}")}
on:
  schedule:
    - cron: "{nightly.at.minute} {nightly.at.hour} * * *"    # UTC
    - cron: "{COLLECT_MINUTE} * * * *"
  workflow_dispatch:
concurrency:
  # one group for each schedule: of those that wait in one, GitHub drops all but the newest
  group: {json.dumps(group)}
  cancel-in-progress: false
permissions: {{}}
jobs:
  callsheet:
    runs-on: self-hosted
    timeout-minutes: 1440
    steps:
      - name: fetch what is in flight
        if: github.event.schedule == '{COLLECT_MINUTE} * * * *'
        run: {json.dumps(shlex.join(nightly.collect) + passing)}
      - name: run the jobs
        if: github.event.schedule != '{COLLECT_MINUTE} * * * *'
        run: {json.dumps(shlex.join(nightly.run) + passing)}
"""
    return [UnitFile(f"callsheet-{nightly.name}.yaml", text)]


KINDS: Mapping[str, Callable[[Nightly], list[UnitFile]]] = {
    "crontab": crontab,
    "systemd": systemd,
    "github": github,
}


def _specifier_free(text: str) -> str:
    return text.replace("%", "%%")


def _systemd_word(word: str) -> str:
    """One word of ExecStart: C-like quotes, and neither specifiers nor variables."""
    escaped = _specifier_free(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./-]+", escaped) else f'"{escaped}"'
