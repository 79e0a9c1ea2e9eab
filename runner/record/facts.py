"""What is true of one process that works on a run: versions, command line, commit of the job file."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runner import __version__
from runner.job.node import JsonValue
from runner.record.redact import Redactor

_LIBRARIES = ("anyio", "httpx", "httpcore", "httpx-aiohttp", "jinja2", "pyyaml", "av")
_GIT_SECONDS = 5.0
_GIT_VARIABLES = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")


def session_facts(
    argv: Sequence[str], job_file: Path, root: Path, redactor: Redactor | None = None
) -> dict[str, JsonValue]:
    """The facts that `Ledger.begin_session` keeps: `command`, `versions` and `git`.

    `argv` is without the program's own name. The machine's and the user's name are not among them.
    """
    clean = redactor or Redactor()
    git = _git_facts(job_file, root)
    return {
        "command": ["callsheet", *(clean.foreign_text(argument) for argument in argv)],
        "versions": _versions(),
        "git": {
            "commit": git.commit,
            "job_file_dirty": git.job_file_dirty,
            "note": clean.foreign_text(git.note),
        },
    }


def _versions() -> dict[str, JsonValue]:
    versions: dict[str, JsonValue] = {
        "callsheet": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed
    return versions


@dataclass(frozen=True, slots=True)
class _GitFacts:
    """`note` says why the others are None. A job file that git does not track is dirty."""

    commit: str | None = None
    job_file_dirty: bool | None = None
    note: str = ""


def _git_facts(job_file: Path, root: Path) -> _GitFacts:
    git = shutil.which("git")
    if git is None:
        return _GitFacts(note="git is not installed")
    directory = job_file.parent if job_file.parent.is_dir() else root
    # the repository's own settings may name programs to run
    settings = ("-c", "core.fsmonitor=false", "--no-optional-locks", "--literal-pathspecs")
    query = (
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=all",
        "--ignored",
        "--",
        str(job_file),
    )
    # inside a hook GIT_DIR and its like point at another repository; and a repository's own settings may
    # still name programs (content filters), which must not find a key here
    environment = {name: os.environ[name] for name in _GIT_VARIABLES if name in os.environ}
    try:
        answer = subprocess.run(  # noqa: S603  no shell, and nothing of the job file but its path
            (git, "-C", str(directory), *settings, *query),
            env=environment | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return _GitFacts(note=f"git did not answer within {_GIT_SECONDS:g} s")
    except subprocess.CalledProcessError as error:
        said: str = error.stderr
        if "not a git repository" in said:
            return _GitFacts(note="not in a git repository")
        return _GitFacts(
            note=f"git could not say: {said.strip().splitlines()[0] if said.strip() else 'no reason'}"
        )
    except OSError as error:
        return _GitFacts(note=f"git could not be started: {error.strerror}")
    return _read_status(answer.stdout)


def _read_status(answer: str) -> _GitFacts:
    lines = answer.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    dirty = any(not line.startswith("#") for line in lines)
    if commit == "(initial)":
        return _GitFacts(job_file_dirty=dirty, note="the repository has no commit yet")
    return _GitFacts(commit=commit, job_file_dirty=dirty)
