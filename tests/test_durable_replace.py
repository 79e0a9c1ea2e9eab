"""Either the old file or the whole new one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runner.durable import replace_file
from runner.errors import StateError


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    with replace_file(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"

    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with (
        pytest.raises(StateError, match=r"a\.json: cannot write: No space left"),
        replace_file(target) as file,
    ):
        file.write(b"new")

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_bytes_are_synced_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace
    target = tmp_path / "a.json"

    def note_sync(descriptor: int) -> None:
        is_directory = os.fstat(descriptor).st_ino == tmp_path.stat().st_ino
        steps.append("sync directory" if is_directory else "sync file")
        fsync(descriptor)

    def note_replace(*paths: str) -> None:
        steps.append("replace")
        rename(*paths)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    with replace_file(target) as file:
        file.write(b"new")

    assert steps == ["sync file", "replace", "sync directory"]


def test_a_directory_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"), replace_file(tmp_path / "no" / "a.json"):
        pytest.fail("never entered")
