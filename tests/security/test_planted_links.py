"""Links that a checkout brings along lead nowhere: state is private, and stays in its place."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from runner.sandbox import SandboxConfig, SandboxServer
from tests.security.checkout import JOB, Checkout

WITH_IMAGE = JOB.replace("output:", "  - {type: image_url, image_url: a.png, role: first_frame}\noutput:")


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as running:
        yield running


@pytest.mark.security(6)
def test_everything_that_a_run_leaves_is_private(checkout: Checkout) -> None:
    Image.new("RGB", (320, 320)).save(checkout.root / "a.png")
    told = checkout.run(WITH_IMAGE)
    assert told.returncode == 0, told.stderr
    states = [checkout.root / ".callsheet", checkout.base / ".callsheet"]
    for directory in states:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    found = [path for path in checkout.base.rglob("*") if {".callsheet", "runs"} & set(path.parts)]
    names = {path.name for path in found}
    assert {"ledger.db", "lock", "manifest.json", "events.jsonl", "job.yaml", "inputs"} <= names
    for path in found:
        if not path.is_symlink() and path.name not in (".gitignore", "runs"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.security(6)
@pytest.mark.parametrize(
    "planted",
    [
        "rehearsal",
        "rehearsal/.callsheet",
        "rehearsal/.callsheet/.gitignore",
        "rehearsal/.callsheet/lock",
        "rehearsal/.callsheet/ledger.db",
        "rehearsal/.callsheet/ledger.db-wal",
        "rehearsal/.callsheet/ledger.db-shm",
        "rehearsal/.callsheet/inputs",
        "rehearsal/runs",
        "rehearsal/out",
    ],
)
@pytest.mark.parametrize("kind", ["directory", "file", "nothing"])
def test_a_planted_link_leads_nowhere(checkout: Checkout, planted: str, kind: str) -> None:
    Image.new("RGB", (320, 320)).save(checkout.root / "a.png")
    target = checkout.outside / "target"
    if kind == "directory":
        target.mkdir()
    elif kind == "file":
        target.write_text("precious")
    link = checkout.root / planted
    link.parent.mkdir(parents=True, exist_ok=True)
    link.parent.chmod(0o700)
    link.symlink_to(target)
    checkout.run(WITH_IMAGE)
    _is_untouched(checkout.outside, target, kind)


def _is_untouched(outside: Path, target: Path, kind: str) -> None:
    found = sorted(path.relative_to(outside).as_posix() for path in outside.rglob("*"))
    assert found == ([] if kind == "nothing" else ["target"])
    if kind == "file":
        assert target.read_text() == "precious"
