"""The further files of a job: below the root, nothing hidden, read once, found again among a run's copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.job.files.sources import SourceError, Sources
from runner.job.yaml.source import MAX_BYTES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "jobs").mkdir(parents=True)
    (root / "house.yaml").write_bytes(b"seeds: 1\n")
    return root


def test_a_file_is_known_by_its_path_below_the_root_and_read_once(root: Path) -> None:
    sources = Sources(root, root / "jobs")
    assert sources.read("../house.yaml") == ("house.yaml", b"seeds: 1\n")
    (root / "house.yaml").unlink()
    assert sources.read("../jobs/../house.yaml") == ("house.yaml", b"seeds: 1\n")
    assert sources.files == {"house.yaml": b"seeds: 1\n"}


def test_copies_are_read_in_place_of_the_disk(root: Path) -> None:
    sources = Sources(root, root / "jobs", {"house.yaml": b"seeds: 2\n"})
    assert sources.read("../house.yaml") == ("house.yaml", b"seeds: 2\n")
    with pytest.raises(SourceError, match="keeps no copy"):
        sources.read("other.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a path"),
        ("a\0b", "not a path"),
        ("..", "outside the project root"),
        ("../../etc/passwd", "outside the project root"),
        ("/etc/passwd", "an absolute path"),
        ("../.env", "a hidden file"),
        ("../.callsheet/ledger.db", "a hidden file"),
        ("../link.yaml", "outside the project root"),
        ("../secret.yaml", "a hidden file"),
        ("../pipe", "not a file"),
        ("../jobs", "not a file"),
        ("../nowhere.yaml", "no such file"),
        ("../large.yaml", "larger than"),
        ("../loop", "cannot be resolved|no such file|cannot read"),
    ],
)
@pytest.mark.security(5)
def test_what_is_outside_hidden_or_no_file_is_not_read(root: Path, text: str, said: str) -> None:
    (root / ".env").write_text("KEY=1")
    (root / "secret.yaml").symlink_to(".env")
    (root.parent / "outside.yaml").write_text("seeds: 1")
    (root / "link.yaml").symlink_to("../outside.yaml")
    (root / "loop").symlink_to("loop")
    (root / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    os.mkfifo(root / "pipe")
    with pytest.raises(SourceError, match=said):
        Sources(root, root / "jobs").read(text)
