"""Built distributions, in environments of their own: offline, with the packages that are installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path


def build(source: Path, out: Path, *forms: str) -> None:
    """Builds `forms` (wheel, sdist) of `source` into `out`, by the backend that is installed here."""
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--no-isolation", "--outdir", out),
            *(f"--{form}" for form in forms),
            source,
        ],
        check=True,
        capture_output=True,
    )


def install(wheel: Path, home: Path, *, beside: Iterable[Path] = ()) -> Path:
    """Makes an environment at `home` with this wheel and the directories `beside` it; gives its `bin`.

    pip would fetch the dependencies from the network for a minute: they are borrowed from here.
    """
    venv.create(home, with_pip=False, symlinks=True)
    library = next(home.glob("lib/python*/site-packages"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", home / "bin" / "python"),
            *("install", "-qq", "--no-deps", "--no-index", "--disable-pip-version-check", wheel),
        ],
        check=True,
        capture_output=True,
    )
    # path entries, not a .pth inside of them: the editable installation of this checkout stays unseen
    paths = [*map(str, beside), sysconfig.get_path("purelib")]
    (library / "borrowed.pth").write_text("".join(f"{path}\n" for path in paths))
    return home / "bin"


def wheel_environment(**changes: str) -> dict[str, str]:
    """This process's, without a path that would let an installed package be another."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | changes
