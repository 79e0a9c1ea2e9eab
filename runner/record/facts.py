"""What is true of one process that works on a run: versions, command line, commit of the job file."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runner import __version__
from runner.job.model import Job
from runner.json_value import JsonValue
from runner.ledger.ledger import Ledger
from runner.ledger.rows import GitFacts
from runner.redact import Redactor
from runner.typed_json import members, with_texts

KEY_VARIABLE = "api_key_env"
"""The fact that names the variable of the key a session submits with; null: one of the provider's own."""

ACCOUNT_VARIABLES = "account_key_envs"
"""The fact that names the variables of its accounts' keys: `callsheet.yaml` may not tell them any more."""

_LIBRARIES = ("anyio", "httpx", "httpcore", "jinja2", "pyyaml", "av")
_GIT_SECONDS = 5.0
_SHA256_DIGITS = 64
_GIT_VARIABLES = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")


def session_facts(
    argv: Sequence[str], job_file: Path, root: Path, redactor: Redactor
) -> dict[str, JsonValue]:
    """The facts that `Ledger.begin_session` keeps: `command`, `versions` and `git`.

    `argv` is without the program's own name. The machine's and the user's name are not among them.
    """
    git = _git_facts(job_file, root)
    return {
        "command": ["callsheet", *(redactor.foreign_text(argument) for argument in argv)],
        "versions": _versions(),
        "git": members(with_texts(git, redactor.foreign_text)),
    }


def job_facts(job: Job) -> dict[str, JsonValue]:
    """What a session ran, as facts: `job_digest`, `files` where the job reads further ones, and the variables
    that its accounts name.
    """
    files: dict[str, JsonValue] = {
        path: hashlib.sha256(content).hexdigest() for path, content in job.files.items()
    }
    variables = {each.key_variable for each in job.accounts.values()} - {""}
    names: list[JsonValue] = [*sorted(variables)]
    return (
        {"job_digest": job.digest}
        | ({"files": files} if files else {})
        | ({ACCOUNT_VARIABLES: names} if names else {})
    )


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


def _git_facts(job_file: Path, root: Path) -> GitFacts:
    git = shutil.which("git")
    if git is None:
        return GitFacts(note="git is not installed")
    directory = job_file.parent if job_file.parent.is_dir() else root
    # `status` would run the content filters that the repository itself names; this reads objects only
    query = ("-c", "core.fsmonitor=false", "--no-optional-locks", "cat-file", "--batch-check")
    # inside a hook GIT_DIR and its like point at another repository; and git has no use for our keys
    environment = {name: os.environ[name] for name in _GIT_VARIABLES if name in os.environ}
    try:
        answer = subprocess.run(  # noqa: S603  no shell, and nothing of the job file but its path
            (git, "-C", str(directory), *query),
            env=environment | {"LC_ALL": "C"},
            input=f"HEAD^{{commit}}\nHEAD:./{job_file.name}\n",
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return GitFacts(note=f"git did not answer within {_GIT_SECONDS:g} s")
    except subprocess.CalledProcessError as error:
        said: str = error.stderr
        if "not a git repository" in said:
            return GitFacts(note="not in a git repository")
        return GitFacts(
            note=f"git could not say: {said.strip().splitlines()[0] if said.strip() else 'no reason'}"
        )
    except OSError as error:
        return GitFacts(note=f"git could not be started: {error.strerror}")
    return _read_objects(answer.stdout, job_file)


def _read_objects(answer: str, job_file: Path) -> GitFacts:
    """`answer` has a line for the commit and one for the job file in it: `<id> <type> <size>`."""
    known = [line.split(" ")[0] for line in answer.splitlines() if line.endswith(tuple("0123456789"))]
    if not known:
        return GitFacts(job_file_dirty=True, note="the repository has no commit yet")
    commit = known[0]
    try:
        content = job_file.read_bytes()
    except OSError:
        return GitFacts(commit=commit, job_file_dirty=True)
    is_clean = any(_blob_id(text, commit) in known[1:] for text in (content, content.replace(b"\r\n", b"\n")))
    return GitFacts(commit=commit, job_file_dirty=not is_clean)


def _blob_id(content: bytes, like: str) -> str:
    """The id that git gives a file of this content, by the hash that `like` shows it to use."""
    data = b"blob %d\0" % len(content) + content
    if len(like) == _SHA256_DIGITS:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def key_variables(ledger: Ledger, run_id: str) -> frozenset[str]:
    """The variables of the keys that a run's sessions and their accounts named: the project file may not name
    them any more.
    """
    named = [*ledger.read.session_facts(run_id, KEY_VARIABLE)]
    for names in ledger.read.session_facts(run_id, ACCOUNT_VARIABLES):
        named += names if isinstance(names, list) else []
    return frozenset(name for name in named if isinstance(name, str) and name)
