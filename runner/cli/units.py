"""Ready units for what starts callsheet by itself: cron, systemd, GitHub Actions. Pure text.

All three do the same: the jobs once a day, and `collect` every hour and at boot, because results
vanish 24 hours after they were made.

A path may hold anything. Every word of a command is quoted for each reader that it passes: cron or
systemd or YAML and GitHub's expressions first, the shell after them. What no line can hold, `unsayable`
tells; names of units and files are made by `slug` and `unit_name`.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from runner.redact import escape
from runner.slug import slug

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
        options += [f"--allow-env={name}" for name in self.allow_env]
        flags = {"--trust-job": self.trust_job, "--yes": self.yes, "--ping": self.ping}
        options += [flag for flag, is_given in flags.items() if is_given]
        return [*self.command, "run", *options, *map(str, self.jobs)]

    @property
    def collect(self) -> list[str]:
        return [*self.command, "collect", "--quiet", "--root", str(self.root), "--wait", "10m"]

    def unsayable(self) -> str | None:
        """A word with a line break, a control or an invisible character, which cannot stand in a unit."""
        return next((word for word in (*self.run, *self.collect) if escape(word) != word), None)


def unit_name(stem: str) -> str:
    """The part of a unit's name that stands for the job file `stem`: systemd takes ASCII only."""
    name = slug(stem)
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    if name and plain == name:
        return name
    return f"{plain or 'jobs'}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:6]}"


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file by its usual name, and its text."""

    name: str
    text: str


def crontab(nightly: Nightly) -> list[UnitFile]:
    """Three lines for `crontab -e`. What is said goes to a log in the state directory (crontab(5))."""
    log = shlex.quote(str(nightly.root / ".callsheet" / "cron.log"))

    def line(when: str, words: Sequence[str]) -> str:
        command = f"{shlex.join(words)} >> {log} 2>&1"
        # an unescaped % would end the command and begin its input; one behind a backslash cannot be
        # escaped, so that an empty pair of quotes comes between them
        return f"{when} " + command.replace("\\%", "\\''%").replace("%", "\\%") + "\n"

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
            f"[Unit]\nDescription={description}\n\n"
            "[Service]\nType=oneshot\n"
            f"ExecStart={_systemd_command(words)}\n"
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
    text = f"""\
# callsheet {nightly.name}. It needs a runner of your own, on the machine that holds the project:
# a hosted one begins with an empty disk, without the ledger that says what was paid for.
name: {_yaml_text(f"callsheet {nightly.name}")}
on:
  schedule:
    - cron: "{nightly.at.minute} {nightly.at.hour} * * *"    # UTC
    - cron: "{COLLECT_MINUTE} * * * *"
  workflow_dispatch:
concurrency:
  # one group for each schedule: of those that wait in one, GitHub drops all but the newest
  group: {_yaml_text(group)}
  cancel-in-progress: false
permissions: {{}}
jobs:
  callsheet:
    runs-on: self-hosted
    timeout-minutes: 1440
    steps:
      - name: fetch what is in flight
        if: github.event.schedule == '{COLLECT_MINUTE} * * * *'
        run: {_workflow_line(nightly.collect, passing)}
      - name: run the jobs
        if: github.event.schedule != '{COLLECT_MINUTE} * * * *'
        run: {_workflow_line(nightly.run, passing)}
"""
    return [UnitFile(f"callsheet-{nightly.name}.yaml", text)]


KINDS: Mapping[str, Callable[[Nightly], list[UnitFile]]] = {
    "crontab": crontab,
    "systemd": systemd,
    "github": github,
}


def _systemd_command(words: Sequence[str]) -> str:
    """ExecStart: C-like quotes, and neither specifiers nor variables."""
    program, *arguments = (word.replace("%", "%%") for word in words)
    # variables are looked for behind the program only
    return " ".join(map(_systemd_word, (program, *(word.replace("$", "$$") for word in arguments))))


def _systemd_word(word: str) -> str:
    if re.fullmatch(r"[\w%+=:,./-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _workflow_line(words: Sequence[str], more: str) -> str:
    """A command for `run:`. GitHub replaces expressions before the shell is called: none may stand in it."""
    # a word that holds one is in single quotes, which end and begin again inside of it
    return _yaml_text(shlex.join(words).replace("${{", "$''{{") + more)


def _yaml_text(text: str) -> str:
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.strip()
