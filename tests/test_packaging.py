"""What is built is what runs elsewhere: the wheel and the sdist, far from this checkout."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from runner import __version__
from runner.providers import every
from tests.support.wheels import build, install, wheel_environment

CHECKOUT = Path(__file__).resolve().parent.parent
_BROUGHT_BY = {
    "PIL": "pillow",
    "dotenv": "python_dotenv",
    "markupsafe": "jinja2",
    "yaml": "pyyaml",
}
"""Modules that are not named as the requirement that brings them."""
SCHEMAS = {
    **{f"runner/schemas/{file.name}": file for file in (CHECKOUT / "schemas").glob("*.schema.json")},
    **{file.relative_to(CHECKOUT).as_posix(): file for file in (CHECKOUT / "runner").rglob("*.schema.json")},
}
"""By their path in the wheel."""
NAMES = {
    "job": CHECKOUT / "schemas" / "job.schema.json",
    "manifest": CHECKOUT / "schemas" / "manifest.schema.json",
    **{f"{provider.name}-request": provider.schema_file for provider in every().values()},
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built without the network by the backend that is installed here."""
    out = tmp_path_factory.mktemp("dist")
    build(CHECKOUT, out, "sdist", "wheel")
    return out


@pytest.fixture(scope="module")
def wheel_of_sdist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from what the sdist holds, as pip does where it finds no wheel."""
    place = tmp_path_factory.mktemp("from sdist")
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (source,) = place.iterdir()
    build(source, place, "wheel")
    (wheel,) = place.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def elsewhere(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; gives its `bin`."""
    (wheel,) = dist.glob("*.whl")
    return install(wheel, tmp_path_factory.mktemp("else where"))


def _run(command: list[str | Path], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=wheel_environment(), capture_output=True, text=True, timeout=60
    )


def test_the_wheel_and_the_sdist_hold_every_schema(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if name.endswith(".schema.json")}
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if name.endswith(".schema.json")}
    in_sdist = {name for name in held if not name.startswith(("examples/", "tests/"))}
    assert in_wheel == SCHEMAS.keys()
    assert in_sdist == {file.relative_to(CHECKOUT).as_posix() for file in SCHEMAS.values()}


def test_the_wheel_holds_the_package_and_nothing_beside_it(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
        held = set(archive.namelist())
        assert {"runner/py.typed", "runner/ledger/schema.sql", "runner/providers/seedance.yaml"} <= held
        page = (CHECKOUT / "runner" / "desk" / "page").iterdir()
        assert {file.relative_to(CHECKOUT).as_posix() for file in page} <= held
    assert tops == {"runner", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


def test_the_installed_package_is_the_one_from_the_wheel(elsewhere: Path, tmp_path: Path) -> None:
    """Were it this checkout, the tests below would prove nothing."""
    found = _run([elsewhere / "python", "-c", "import runner; print(runner.__file__)"], cwd=tmp_path)
    assert Path(found.stdout.strip()).is_relative_to(elsewhere.parent)


def test_the_installed_command_tells_its_version(elsewhere: Path, tmp_path: Path) -> None:
    told = _run([elsewhere / "callsheet", "--version"], cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, f"callsheet {__version__}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_command_prints_every_schema(name: str, elsewhere: Path, tmp_path: Path) -> None:
    printed = _run([elsewhere / "callsheet", "schema", name], cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.rstrip() == NAMES[name].read_text().rstrip()


def test_the_installed_command_validates_the_first_job(elsewhere: Path, tmp_path: Path) -> None:
    made = _run([elsewhere / "callsheet", "init"], cwd=tmp_path)
    assert made.returncode == 0
    assert made.stderr.startswith("next: callsheet run jobs/hello.yaml --sandbox"), made.stderr
    checked = _run([elsewhere / "callsheet", "validate", "jobs/hello.yaml"], cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stderr.startswith("next: callsheet plan jobs/hello.yaml"), checked.stderr


@pytest.mark.parametrize("source", ["wheel", pytest.param("sdist", marks=pytest.mark.evidence)])
def test_what_is_installed_runs_the_quickstart(
    source: str, elsewhere: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The rehearsal with real MP4s, far from the checkout."""
    commands = elsewhere
    if source == "sdist":
        commands = install(request.getfixturevalue("wheel_of_sdist"), tmp_path / "from sdist")
    project = tmp_path / "my film"
    _run([commands / "callsheet", "-q", "init", project], cwd=tmp_path)
    shutil.copy(CHECKOUT / "jobs" / "quickstart.yaml", project / "jobs")
    ran = _run([commands / "callsheet", "run", "jobs/quickstart.yaml", "--sandbox"], cwd=project)
    assert ran.returncode == 0, ran.stderr
    assert "6 tasks: 6 done" in ran.stdout
    assert len(list((project / "rehearsal" / "out" / "quickstart").glob("*.mp4"))) == 6
    assert _run([commands / "callsheet", "verify", "--sandbox"], cwd=project).returncode == 0


@pytest.mark.evidence
def test_the_sdist_s_wheel_holds_what_the_checkout_s_does(dist: Path, wheel_of_sdist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(wheel_of_sdist) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_every_package_that_is_imported_is_declared() -> None:
    """The environments above borrow what is installed here: a dependency that is missing would not show."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["all"]]
    for extra in ("media", "server", "postgres", "objects", "cluster"):
        asked += project["optional-dependencies"][extra]
    declared = {re.split(r"[<>=\[ ]", one)[0].replace("-", "_").lower() for one in asked}
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for file in (CHECKOUT / "runner").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    tops = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"runner"}
    assert {_BROUGHT_BY.get(top, top) for top in tops} <= declared
