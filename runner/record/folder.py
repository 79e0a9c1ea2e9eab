"""`runs/<run id>/`: where a run leaves what people and programs read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.durable import make_directory, replace_file, sync_directory
from runner.errors import StateError, UsageError
from runner.job.files.sources import JobCopy
from runner.project import Project
from runner.typed_json import read

LATEST = "latest"
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


def is_run_id(name: str) -> bool:
    """Whether it can be the name of a run's folder."""
    return name != LATEST and _RUN_ID.fullmatch(name) is not None


def check_runs(project: Project) -> None:
    """Raises StateError where something else stands in the place of `runs/` or of the link in it."""
    if _kind(project.runs_dir) not in (None, stat.S_IFDIR):
        raise _not_a_directory(project.runs_dir)
    link = project.runs_dir / LATEST
    if _kind(link) not in (None, stat.S_IFLNK):
        raise StateError(f"{link}: is not a symbolic link", hint="move it away: callsheet keeps a link there")


@dataclass(frozen=True, slots=True)
class _Files:
    """The sha256 of each further file of a job, by its path below the root."""

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Raises UsageError where `run_id` cannot be a folder's name."""

    project: Project
    run_id: str

    def __post_init__(self) -> None:
        if not is_run_id(self.run_id):
            raise UsageError(f"{self.run_id!r}: not a run id", hint="`callsheet status` shows the latest run")

    @property
    def path(self) -> Path:
        return self.project.runs_dir / self.run_id

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def job(self) -> Path:
        """The job file as the newest session ran it, byte for byte."""
        return self.path / "job.yaml"

    def job_of(self, digest: str) -> Path:
        """The job file as a session ran it, by its sha256 in hex."""
        return self.path / "jobs" / f"{digest}.yaml"

    def file_of(self, digest: str) -> Path:
        """A further file that a job read, by its sha256 in hex."""
        return self.path / "jobs" / "files" / digest

    def files_changed(self, job: Path) -> Mapping[Path, Path]:
        """The tables, texts and house files that `job`, a copy of ours, read and that are no longer the same,
        each with the path of its copy. Raises StateError where their list cannot be read.
        """
        root = self.project.root
        digests = self._digests(_read(job)) if job.is_file() else {}
        return {
            root / path: self.file_of(digest)
            for path, digest in digests.items()
            if not is_of_digest(root / path, digest)
        }

    def job_copy(self) -> JobCopy:
        """The job as the newest session ran it. Raises StateError where it cannot be read."""
        text = _read(self.job)
        digests = self._digests(text)
        files = {path: _read(self.file_of(digest)) for path, digest in digests.items()}
        if any(hashlib.sha256(content).hexdigest() != digests[path] for path, content in files.items()):
            raise StateError(f"{self._files_of(text)}: a file beside it is not as it was")
        return JobCopy(text, files)

    def _digests(self, job_text: bytes) -> Mapping[str, str]:
        """The sha256 of each further file that this job read, by its path below the root."""
        index = self._files_of(job_text)
        if _kind(index) is None:
            return {}
        try:
            return read(_Files, json.loads(_read(index))).files
        except ValueError as error:
            raise StateError(f"{index}: cannot read: {error}") from error

    @property
    def report(self) -> Path:
        """The contact sheet."""
        return self.path / "report.html"

    def make(self, job: JobCopy) -> None:
        """Makes the folder, writes the job as run and points `runs/latest` here.

        Fit for a resume too: what each session ran is kept. Raises StateError where something else
        stands in its place.
        """
        check_runs(self.project)
        _make_directory(self.project.runs_dir, 0o755)
        _make_directory(self.path, 0o700)
        _make_directory(self.path / "jobs", 0o700)
        with contextlib.suppress(OSError):
            if _kind(self.job) == stat.S_IFREG:  # an older callsheet kept the newest text alone
                self._keep(self.job.read_bytes())
        self._keep(job.text)
        self._keep_files(job)
        # last: a kill before this leaves the job of the session before, with its own files
        with replace_file(self.job) as file:
            file.write(job.text)
        self._point_latest()

    def _files_of(self, job_text: bytes) -> Path:
        """A `_Files` of this job as JSON; not there if it reads none."""
        return self.path / "jobs" / f"{hashlib.sha256(job_text).hexdigest()}.files.json"

    def _keep(self, job_text: bytes) -> None:
        _write_once(self.job_of(hashlib.sha256(job_text).hexdigest()), job_text)

    def _keep_files(self, job: JobCopy) -> None:
        if not job.files:
            return
        digests: dict[str, str] = {}
        _make_directory(self.path / "jobs" / "files", 0o700)
        for path, content in job.files.items():
            digests[path] = hashlib.sha256(content).hexdigest()
            _write_once(self.file_of(digests[path]), content)
        with replace_file(self._files_of(job.text)) as file:
            file.write(json.dumps({"files": digests}, indent=1, sort_keys=True).encode() + b"\n")

    def _point_latest(self) -> None:
        link = self.project.runs_dir / LATEST
        partial = link.with_name(f".{LATEST}.partial")
        try:
            partial.unlink(missing_ok=True)
            partial.symlink_to(self.run_id)
            partial.replace(link)
            sync_directory(link.parent)
        except OSError as error:
            raise StateError(f"{link}: cannot make the link: {error.strerror}") from error


def _write_once(file: Path, content: bytes) -> None:
    """Under a name that says its content."""
    if _kind(file) != stat.S_IFREG:
        with replace_file(file) as stream:
            stream.write(content)


def is_of_digest(file: Path, digest: str) -> bool:
    """Whether a file is there and has this sha256 in hex."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StateError(f"{file}: cannot read: {error.strerror}") from error


def _make_directory(directory: Path, mode: int) -> None:
    try:
        kind = _kind(directory)
        if kind is None:
            make_directory(directory, mode)
        elif kind != stat.S_IFDIR:
            raise _not_a_directory(directory)
        if mode == 0o700:
            os.chmod(directory, mode, follow_symlinks=True)  # noqa: PTH101  mkdir's mode is cut by the umask
    except OSError as error:
        raise StateError(
            f"{directory}: cannot write: {error.strerror}", hint="make the directory writable for this user"
        ) from error


def _not_a_directory(path: Path) -> StateError:
    return StateError(f"{path}: is not a directory", hint="move it away: runs are recorded here")


def _kind(path: Path) -> int | None:
    """The kind of file at `path` itself, links not followed."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        return None
