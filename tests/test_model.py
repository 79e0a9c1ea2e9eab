"""The model of several machines on one lane: it is sound, and each of its broken variants is refuted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.lane.lease import GUARD, PATIENCE, TAKEOVER

ROOT = Path(__file__).resolve().parent.parent

_TABLE = "| `VARIANT` | a safeguard | paid twice | 2 | it breaks |\n"
_DEEP = "int x; init { do :: x < 30000 -> x++ :: else -> break od }"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script needs of this one, in a directory with a space."""
    copy = tmp_path / "a checkout"
    for name in ("docs/model", "scripts/lib"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy2(ROOT / "scripts/model", copy / "scripts/model")
    return copy


def _run(checkout: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    temporary = checkout.parent / "temporary files"
    temporary.mkdir(exist_ok=True)
    before = _files(checkout)
    environment = {"PATH": path or "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin", "TMPDIR": str(temporary)}
    done = subprocess.run(
        [checkout / "scripts/model", *arguments], env=environment, capture_output=True, text=True, timeout=900
    )
    assert _files(checkout) == before
    assert list(temporary.iterdir()) == []
    return done


def _files(checkout: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}


@pytest.mark.evidence
def test_the_model_is_sound_and_each_broken_variant_is_refuted(checkout: Path) -> None:
    page = (ROOT / "docs/model/README.md").read_text(encoding="utf-8")
    shown = re.search(r"```text.*?\n(sound: .*?)```", page, re.S)
    assert shown is not None
    done = _run(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _without_figures(done.stdout) == _without_figures(shown[1])
    version = re.search(r"Version ([\d.]+)", subprocess.check_output(["spin", "-V"], text=True))
    assert version is not None
    # another version may search in another order
    if f"spin {version[1]}" in page:
        assert done.stdout == shown[1]


def _without_figures(text: str) -> str:
    return re.sub(r"\d+ states", "states", text)


def test_a_variant_tells_the_history_that_breaks_its_claim(checkout: Path) -> None:
    done = _run(checkout, "LOST_COMMIT_NOT_AWAITED")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "process 0 takes the lane (signed off: 1)",
        "process 0 begins: intend",
        "process 0 says: nothing was written",
        "  committed: intend of process 0",
    ]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param("init { assert(1) }", "VARIANT: NOT refuted", id="a variant that holds"),
        pytest.param("init { assert(0) }", "sound: an error", id="a sound model with an error"),
        pytest.param("init {", "sound: an error, or not searched whole", id="a model that is not read"),
        pytest.param(_DEEP, "sound: an error, or not searched whole", id="a history that is cut short"),
    ],
)
def test_it_fails_on(checkout: Path, model: str, said: str) -> None:
    (checkout / "docs/model/lanes.pml").write_text(model, encoding="utf-8")
    (checkout / "docs/model/README.md").write_text(_TABLE, encoding="utf-8")
    done = _run(checkout)
    assert done.returncode == 1
    assert said in done.stdout


def test_the_times_of_leases_have_the_order_that_the_model_keeps() -> None:
    page = " ".join((ROOT / "docs/model/README.md").read_text(encoding="utf-8").split())
    assert GUARD < PATIENCE < TAKEOVER
    assert f"A guard lasts {GUARD:.0f} s" in page
    assert f"A person may sign off after {PATIENCE:.0f} s" in page
    assert f"another machine may take over after {TAKEOVER:.0f} s" in page


def test_an_unknown_variant_is_refused(checkout: Path) -> None:
    done = _run(checkout, "NO_GARD")
    assert (done.returncode, done.stdout) == (2, "")
    assert "docs/model/README.md" in done.stderr


def test_without_spin_it_says_how_to_install_it(checkout: Path) -> None:
    tools = checkout.parent / "tools"
    tools.mkdir()
    for name in ("bash", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    done = _run(checkout, path=str(tools))
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install spin gcc" in done.stderr
