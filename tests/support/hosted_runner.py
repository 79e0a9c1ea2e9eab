"""A hosted runner: plays the jobs of a workflow as GitHub would, each step in a new clone and an empty home.

It knows what the workflow in docs/how-to/ci.md and action.yml use, and fails on anything else
(https://docs.github.com/en/actions/reference/workflow-syntax-for-github-actions).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.command_process import CHECKOUT

Value = str | bool | int | None | Mapping[str, Any]

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(==|!=|&&|\|\||[!().])|([A-Za-z_][\w-]*))")
_PART = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STEP_SECONDS = 100.0


@dataclass(slots=True)
class _Expression:
    """https://docs.github.com/en/actions/reference/evaluate-expressions-in-workflows-and-actions"""

    text: str
    contexts: Mapping[str, Value]
    has_failed: bool = False
    _tokens: list[str] = field(default_factory=list)

    def value(self) -> Value:
        at = 0
        while at < len(self.text.rstrip()):
            found = _TOKEN.match(self.text, at)
            assert found is not None, f"cannot read {self.text[at:]!r}"
            self._tokens.append(found[0].strip())
            at = found.end()
        result = self._any()
        assert not self._tokens, f"{self.text}: {self._tokens} are left"
        return result

    def _any(self) -> Value:
        result = self._all()
        while self._take("||"):
            other = self._all()
            result = result or other
        return result

    def _all(self) -> Value:
        result = self._equal()
        while self._take("&&"):
            other = self._equal()
            result = other if result else result
        return result

    def _equal(self) -> Value:
        result = self._one()
        if self._take("=="):
            return _text(result) == _text(self._one())
        if self._take("!="):
            return _text(result) != _text(self._one())
        return result

    def _one(self) -> Value:
        if self._take("!"):
            return not self._one()
        if self._take("("):
            result = self._any()
            assert self._take(")")
            return result
        word = self._tokens.pop(0)
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if self._take("("):
            assert self._take(")")
            return {"always": True, "success": not self.has_failed, "failure": self.has_failed}[word]
        found: Any = self.contexts[word]
        while self._take("."):
            found = found.get(self._tokens.pop(0), "") if isinstance(found, Mapping) else ""
        return found  # type: ignore[no-any-return]

    def _take(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        del self._tokens[0]
        return True


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def filled_in(text: Value, contexts: Mapping[str, Value]) -> str:
    """A value of a workflow with its `${{ }}`."""
    return _PART.sub(lambda part: _text(_Expression(part[1], contexts).value()), _text(text))


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step with a `run:`, as it ended."""

    name: str
    code: int
    output: str


@dataclass(slots=True)
class HostedRunner:
    """`repository` is what is cloned. `secrets` and `variables` are its settings, `environment` is the
    machine's. `signal_for` is asked about each step while it is at work: SIGKILL goes to all of its
    processes, any other signal to its shell alone.
    """

    repository: Path
    place: Path
    workflow: Mapping[str, Any]
    action: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    signal_for: Callable[[str], signal.Signals | None] = lambda _step: None
    steps: list[StepResult] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    summary: str = ""
    _runs: int = 0

    def trigger(self, event: str, *, is_fork: bool = False, number: int = 7) -> dict[str, bool]:
        """Runs the jobs that an event starts, and says which of them succeeded. A fork gets no secrets."""
        self.steps, self.artifacts, self.summary = [], [], ""
        self._runs += 1
        github: dict[str, Value] = {
            "event_name": event,
            "event": {"number": number} if event == "pull_request" else {},
            "run_id": str(self._runs),
            "run_attempt": "1",
            "token": "reads only" if is_fork else "token",
            "action_path": str(CHECKOUT),
        }
        ended: dict[str, bool] = {}
        for name, job in self.workflow["jobs"].items():
            contexts: dict[str, Value] = {
                "github": {**github, "job": name},
                "secrets": {} if is_fork else self.secrets,
                "vars": self.variables,
                "strategy": {"job-index": 0},
            }
            if _Expression(job["if"], contexts).value():
                ended[name] = self._job(name, job, contexts)
        return ended

    def clone(self, folder: Path) -> None:
        subprocess.run(["git", "clone", "-q", self.repository, folder], check=True)

    def _job(self, name: str, job: Mapping[str, Any], contexts: dict[str, Value]) -> bool:
        temporary = self.place / f"temporary-{self._runs}-{name}"
        temporary.mkdir(parents=True)
        shared = {key: filled_in(value, contexts) for key, value in job.get("env", {}).items()}
        shared |= {
            "GITHUB_JOB": name,
            "GITHUB_REPOSITORY": "studio/film",
            "GITHUB_STEP_SUMMARY": str(temporary / "summary.md"),
            "RUNNER_TEMP": str(temporary),
        }
        is_fine = True
        for step in job["steps"]:
            if step["uses"].startswith("actions/checkout@"):
                continue  # each step has a clone of its own
            assert re.fullmatch(r"OWNER/callsheet@[\w.]+", step["uses"])
            more = {key: filled_in(value, contexts) for key, value in step.get("env", {}).items()}
            given = {key: filled_in(value, contexts) for key, value in step.get("with", {}).items()}
            assert given.keys() <= self.action["inputs"].keys()
            wanted = {
                key: filled_in(value["default"], contexts) for key, value in self.action["inputs"].items()
            }
            is_fine = (
                self._composite({**contexts, "inputs": wanted | given}, shared | more, temporary) and is_fine
            )
        with (temporary / "summary.md").open("a+") as summary:
            summary.seek(0)
            self.summary += summary.read()
        return is_fine

    def _composite(self, contexts: Mapping[str, Value], shared: Mapping[str, str], temporary: Path) -> bool:
        has_failed = False
        clones: list[Path] = []
        for number, step in enumerate(self.action["runs"]["steps"]):
            condition = str(step.get("if", "success()"))
            if not re.search(r"(always|success|failure)\(", condition):
                condition = f"success() && ({condition})"
            if not _Expression(condition, contexts, has_failed).value():
                continue
            if "run" not in step:
                self._use(step, contexts, clones)
                continue
            clone = temporary / f"clone-{number}"
            home = temporary / f"home-{number}"
            home.mkdir()
            self.clone(clone)
            clones.append(clone)
            own = {key: filled_in(value, contexts) for key, value in step.get("env", {}).items()}
            name = step["name"]
            environment = {**self.environment, "HOME": str(home), **shared, **own}
            result = self._run(name, filled_in(step["run"], contexts), clone, environment)
            self.steps.append(result)
            has_failed = has_failed or result.code != 0
        return not has_failed

    def _use(self, step: Mapping[str, Any], contexts: Mapping[str, Value], clones: list[Path]) -> None:
        action = step["uses"].partition("@")[0]
        if action == "actions/upload-artifact":
            paths = [clone / filled_in(step["with"]["path"], contexts) for clone in clones]
            self.artifacts += [path for path in paths if path.is_dir()]
        else:
            assert action == "actions/setup-python"

    def _run(self, name: str, script: str, clone: Path, environment: Mapping[str, str]) -> StepResult:
        output = clone.parent / f"{clone.name}.txt"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
                cwd=clone,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            end = time.monotonic() + _STEP_SECONDS
            while process.poll() is None:
                sent = self.signal_for(name) if time.monotonic() < end else signal.SIGKILL
                if sent is signal.SIGKILL:
                    os.killpg(process.pid, sent)
                elif sent is not None:
                    process.send_signal(sent)
                time.sleep(0.02)
        return StepResult(name, process.returncode, output.read_text(encoding="utf-8"))


def read_action() -> dict[str, Any]:
    found = yaml.safe_load((CHECKOUT / "action.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def install_commands(folder: Path) -> dict[str, str]:
    """The variables of a machine that has the commands `callsheet` and `python`. `pip` installs nothing, for
    this checkout is there already; FOLDER/pip.txt has what it was asked.
    """
    folder.mkdir()
    for name, text in {
        "callsheet": f'exec "{sys.executable}" -m runner "$@"',
        "python": f'[ "$1 $2" != "-m pip" ] || {{ printf "%s\\n" "$@" >"{folder}/pip.txt"; exit 0; }}\n'
        f'exec "{sys.executable}" "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": str(CHECKOUT),
        "LC_ALL": "C.UTF-8",
    }


def make_repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A git repository with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    commit(folder)
    return folder


def commit(repository: Path) -> None:
    """Commits all that has changed."""
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "jobs"], check=True)
