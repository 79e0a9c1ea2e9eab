"""The bytes that were sent are kept, and only those are sent."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.errors import ExitCode, NothingSentError
from runner.providers.base import InputFile
from runner.store.inputs import InputStore


def input_file(path: Path, content: bytes) -> InputFile:
    path.write_bytes(content)
    return InputFile(hashlib.sha256(content).hexdigest(), "image/png", len(content), path)


def test_the_first_read_keeps_a_copy_that_outlives_the_file(tmp_path: Path) -> None:
    store, file = InputStore(tmp_path / "inputs"), input_file(tmp_path / "a.png", b"pixels")
    assert store.read(file) == b"pixels"
    file.path.unlink()
    assert store.read(file) == b"pixels"
    assert [path.name for path in store.directory.iterdir()] == [file.sha256]


def test_a_file_that_changed_since_the_plan_is_not_sent(tmp_path: Path) -> None:
    store, file = InputStore(tmp_path / "inputs"), input_file(tmp_path / "a.png", b"pixels")
    file.path.write_bytes(b"other pixels")
    with pytest.raises(NothingSentError) as caught:
        store.read(file)
    assert caught.value.exit_code is ExitCode.INPUT_MISSING


def test_tasks_that_share_an_input_may_keep_it_at_once(tmp_path: Path) -> None:
    """Found by jobs/image-to-video.yaml: both takes send the same first frame."""
    for round_number in range(50):
        store = InputStore(tmp_path / f"inputs-{round_number}")
        file = input_file(tmp_path / "a.png", b"pixels" * 1000)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(store.read, [file] * 8)) == {b"pixels" * 1000}
        assert [path.name for path in store.directory.iterdir()] == [file.sha256]
