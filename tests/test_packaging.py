"""What is built is what runs elsewhere: the wheel and the sdist, far from this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from runner import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
SCHEMAS = sorted(file.name for file in (CHECKOUT / "schemas").glob("*.schema.json"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built without the network by the backend that is installed here."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", out, CHECKOUT],
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def elsewhere(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; gives its `bin`. Dependencies are borrowed from here."""
    home = tmp_path_factory.mktemp("else where")
    venv.create(home, with_pip=False, symlinks=True)
    library = next(home.glob("lib/python*/site-packages"))
    (wheel,) = dist.glob("*.whl")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", home / "bin" / "python"),
            *("install", "-qq", "--no-deps", "--no-index", "--disable-pip-version-check", wheel),
        ],
        check=True,
        capture_output=True,
    )
    # a path entry, not a .pth inside of it: the editable installation of this checkout stays unseen
    (library / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def _run(command: list[str | Path], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_the_wheel_and_the_sdist_hold_every_schema(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if name.endswith(".schema.json")}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if name.endswith(".schema.json")}
    assert SCHEMAS
    assert in_wheel == {f"runner/schemas/{name}" for name in SCHEMAS}
    assert in_sdist == {f"schemas/{name}" for name in SCHEMAS}


def test_the_wheel_holds_the_package_and_nothing_beside_it(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
        held = set(archive.namelist())
        assert {"runner/py.typed", "runner/ledger/schema.sql", "runner/job/models.yaml"} <= held
        page = (CHECKOUT / "runner" / "record" / "sheet" / "page").iterdir()
        assert {file.relative_to(CHECKOUT).as_posix() for file in page} <= held
    assert tops == {"runner", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


def test_the_installed_package_is_the_one_from_the_wheel(elsewhere: Path, tmp_path: Path) -> None:
    """Were it this checkout, the tests below would prove nothing."""
    found = _run([elsewhere / "python", "-c", "import runner; print(runner.__file__)"], cwd=tmp_path)
    assert Path(found.stdout.strip()).is_relative_to(elsewhere.parent)


def test_the_installed_command_tells_its_version(elsewhere: Path, tmp_path: Path) -> None:
    told = _run([elsewhere / "callsheet", "--version"], cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, f"callsheet {__version__}\n")


@pytest.mark.parametrize("name", [name.removesuffix(".schema.json") for name in SCHEMAS])
def test_the_installed_command_prints_every_schema(name: str, elsewhere: Path, tmp_path: Path) -> None:
    printed = _run([elsewhere / "callsheet", "schema", name], cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.rstrip() == (CHECKOUT / "schemas" / f"{name}.schema.json").read_text().rstrip()


def test_the_installed_command_validates_the_first_job(elsewhere: Path, tmp_path: Path) -> None:
    made = _run([elsewhere / "callsheet", "init"], cwd=tmp_path)
    assert made.returncode == 0
    assert made.stderr.startswith("next: callsheet run jobs/hello.yaml --sandbox"), made.stderr
    checked = _run([elsewhere / "callsheet", "validate", "jobs/hello.yaml"], cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stderr.startswith("next: callsheet plan jobs/hello.yaml"), checked.stderr
