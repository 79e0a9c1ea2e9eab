"""A rehearsed project as an earlier version left it, and what the command line answers about it.

`rehearsed/project.tar.xz` is the whole project: job files and picks, ledger, runs with their manifests and
events, videos, and the tasks that the sandbox accepted. It was made from `rehearsed/jobs/`. Each file of
`rehearsed/answers/` holds commands with their answers.

Only the command line and the sandbox are used here, so that no change of the code behind them touches this.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.__main__ import main
from runner.sandbox import SandboxConfig, SandboxServer

REHEARSED = Path(__file__).parent / "rehearsed"
JOBS = REHEARSED / "jobs"
PROJECT = REHEARSED / "project.tar.xz"
ANSWERS = REHEARSED / "answers"
DATE = "2020-02-03+00:00"
"""`run.date` of the newer run of `nightly`."""
BUYERS = frozenset({"unpaid", "flight"})
"""Jobs with a task that was never submitted: `run` would buy it."""
ASKED = ("plan", "status", "spend", "reconcile", "show", "diff", "verify", "run")
"""The files of ANSWERS."""
VERIFIED = frozenset({"story", "getimg", "frameless", "gone"})
"""Jobs whose runs are verified: with and without last frames, at both services, and with a file missing."""

_RUN = re.compile(r"20\d{6}T\d{6}Z-[0-9a-f]{6}")
_DAYS = re.compile(r"\bfor \d+ d\b")
_SECONDS = re.compile(r'"seconds": [\d.]+')


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The project, unpacked. `runs` are the ids of the runs that came with it, oldest first."""

    root: Path
    runs: tuple[str, ...]

    @classmethod
    def unpack(cls, directory: Path) -> Rehearsed:
        with tarfile.open(PROJECT) as packed:
            packed.extractall(directory, filter="data")
        root = directory.resolve() / "project"
        return cls(root, tuple(sorted(path.name for path in (root / "rehearsal/runs").glob("[0-9]*"))))

    @property
    def jobs(self) -> list[str]:
        return sorted(path.stem for path in (self.root / "jobs").glob("*.yaml"))

    @property
    def manifests(self) -> list[Any]:
        """Of every run except the one that was killed."""
        files = [self.root / "rehearsal/runs" / run / "manifest.json" for run in self.runs]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]

    def count_accepted(self) -> int:
        """How many tasks the sandbox has accepted, and would have billed."""
        store = self.root / "rehearsal/.callsheet/sandbox/tasks.db"
        with SandboxServer(SandboxConfig(store=store)) as server:
            return server.accepted

    def commands(self, name: str) -> list[list[str]]:
        """What is asked for a file of ANSWERS, one after the other."""
        manifests = self.manifests
        match name:
            case "plan":
                return [_json("plan", f"jobs/{job}.yaml", "--date", DATE) for job in self.jobs]
            case "status":
                return [_json("status", run) for run in self.runs]
            case "spend":
                grouped = [_json("spend", "--by", by) for by in ("job", "model", "day")]
                return [_json("spend"), *grouped, _json("spend", "--since", "2020-02-04")]
            case "reconcile":
                return [_json("reconcile")]
            case "show":
                return [_json("show", task) for task in _one_of_each_kind(manifests)]
            case "diff":
                return [_json("diff", *pair) for pair in _pairs(manifests)]
            case "verify":
                heads = [manifest["run"] for manifest in manifests]
                return [_json("verify", run["id"]) for run in heads if run["name"] in VERIFIED]
            case "run":
                jobs = [job for job in self.jobs if job not in BUYERS]
                runs = [_json("run", f"jobs/{job}.yaml", *_dated(job)) for job in jobs]
                return [*runs, _json("collect"), _json("reconcile")]
        raise ValueError(name)

    def ask(self, command: list[str]) -> dict[str, Any]:
        """What `callsheet COMMAND` prints on stdout, and its exit code, without what changes from day to day.

        The working directory has to be the project.
        """
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = int(main(command))
        text = out.getvalue().replace(str(self.root), "ROOT")
        text = _SECONDS.sub('"seconds": 1', _DAYS.sub("for DAYS", _RUN.sub(self._known, text)))
        answer = json.loads(text) if text and "json" in command else text.splitlines()
        return {"command": command, "exit_code": code, "answer": answer}

    def _known(self, run: re.Match[str]) -> str:
        return run[0] if run[0] in self.runs else "NEW-RUN"


def _json(*words: str) -> list[str]:
    return [*words, "--sandbox", "--output-format", "json"]


def _dated(job: str) -> tuple[str, ...]:
    return ("--date", DATE) if job == "nightly" else ()


def _one_of_each_kind(manifests: list[Any]) -> list[str]:
    """Identities: one for each state of each model and step."""
    tasks = [task for manifest in manifests for task in manifest["tasks"]]
    return list({(task["state"], task["model"], task["step"]): task["identity"] for task in tasks}.values())


def _pairs(manifests: list[Any]) -> list[tuple[str, str]]:
    """The first and the last run of each job that was run more than once."""
    of_job: dict[str, list[str]] = {}
    for manifest in manifests:
        of_job.setdefault(manifest["run"]["job_file"], []).append(manifest["run"]["id"])
    return [(runs[0], runs[-1]) for runs in of_job.values() if len(runs) > 1]
