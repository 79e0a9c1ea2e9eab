"""What is said to be written is past every cache, and there is one way to do it."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from runner.durable import replace_file, sync, sync_directory
from runner.job.files.sources import JobCopy
from runner.ledger.database import open_for_writing
from runner.project import init_project
from runner.providers.base import InputFile
from runner.record.folder import RunFolder
from runner.store.inputs import InputStore

PACKAGE = Path(__file__).resolve().parent.parent / "runner"
FULL = 51
"""macOS's F_FULLFSYNC."""


class Calls:
    """The syncs of a machine whose fcntl offers F_FULLFSYNC; `refusal` is its answer, 0 for success."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusal = 0
        self.made: list[str] = []
        real_fcntl, real_fsync = fcntl.fcntl, os.fsync

        def full(descriptor: int, command: int, argument: int = 0) -> int:
            if command != FULL:
                return real_fcntl(descriptor, command, argument)
            os.fstat(descriptor)
            self.made.append("full")
            if self.refusal:
                raise OSError(self.refusal, os.strerror(self.refusal))
            return 0

        def plain(descriptor: int) -> None:
            self.made.append("fsync")
            real_fsync(descriptor)

        monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULL, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", full)
        monkeypatch.setattr(os, "fsync", plain)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def test_a_sync_goes_past_the_drive_s_cache_where_the_system_offers_that(
    calls: Calls, tmp_path: Path
) -> None:
    with replace_file(tmp_path / "a") as file:
        file.write(b"1")
    assert calls.made == ["full", "full"], "the file, and the directory"
    sync_directory(tmp_path)
    assert calls.made == ["full"] * 3
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("refusal", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_file_system_without_it_gets_a_plain_sync(calls: Calls, tmp_path: Path, refusal: int) -> None:
    calls.refusal = refusal
    with (tmp_path / "a").open("wb") as file:
        sync(file.fileno())
    assert calls.made == ["full", "fsync"]


def test_a_disk_that_fails_is_not_asked_again(calls: Calls, tmp_path: Path) -> None:
    """A second sync would succeed: the system forgets the pages that it could not write."""
    calls.refusal = errno.EIO
    with (tmp_path / "a").open("wb") as file, pytest.raises(OSError, match="Input/output"):
        sync(file.fileno())
    assert calls.made == ["full"]


def test_without_it_a_sync_is_the_plain_one(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(fcntl, "F_FULLFSYNC")
    sync_directory(tmp_path)
    assert calls.made == ["fsync"]


def test_every_directory_that_is_made_is_synced_in_the_one_above(calls: Calls, tmp_path: Path) -> None:
    project = init_project(tmp_path)
    assert calls.made == ["full"], "or a power cut takes .callsheet, and the ledger with it"
    calls.made.clear()
    RunFolder(project, "20260531T220000Z-a1b2c3").make(JobCopy(b"version: 1\n"))
    assert calls.made == ["full"] * 8, (
        "runs/, the run's folder, the job file and its name, `latest`, and jobs/ with the same file's name"
    )


def test_a_kept_input_and_its_name_are_synced(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    digest = hashlib.sha256(b"1").hexdigest()
    file = InputFile(path=tmp_path / "a.png", sha256=digest, size=1, media_type="image/png")
    assert InputStore(tmp_path / "inputs").read(file) == b"1"
    assert (tmp_path / "inputs" / digest).read_bytes() == b"1"
    assert calls.made == ["full"] * 3, "inputs/, the file and its name"


def test_a_commit_of_the_ledger_goes_past_the_drive_s_cache(tmp_path: Path) -> None:
    connection = open_for_writing(tmp_path / "ledger.db")
    try:
        for pragma, value in (("synchronous", 2), ("fullfsync", 1), ("checkpoint_fullfsync", 1)):
            assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,), pragma
    finally:
        connection.close()


def test_nothing_else_syncs() -> None:
    """One function knows how; a second one would forget macOS."""
    names = {"fsync", "fdatasync", "F_FULLFSYNC", "O_SYNC", "O_DSYNC"}
    wrong = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != PACKAGE / "durable.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
        or (isinstance(node, ast.Constant) and node.value in names)
    ]
    assert wrong == []
