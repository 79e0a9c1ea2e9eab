"""A manifest task by task: it has one a line, so a hundred thousand of them never stand in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.errors import StateError
from runner.record.manifest import MANIFEST_VERSION


def scan_manifest(path: Path, each: Callable[[dict[str, Any]], None], *, most: int) -> dict[str, Any]:
    """Calls `each` with the first `most` tasks in order, and gives the manifest's other members.

    Further tasks are not even parsed.

    Raises StateError where the file is no manifest that we know, as it was written.
    """
    members: dict[str, Any] = {}
    in_tasks = False
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                text = line.rstrip().removesuffix(",")
                if in_tasks and text != "]":
                    if most > 0:
                        each(json.loads(text))
                    most -= 1
                elif text in ("{", "}", "]"):
                    in_tasks = False
                elif text == '"tasks": [':
                    in_tasks = True
                else:
                    members.update(json.loads("{" + text + "}"))
                    _check_version(members, path)
    except FileNotFoundError as error:
        raise StateError(
            f"{path}: there is no manifest", hint="it is written when a run ends, also when it ends early"
        ) from error
    except OSError as error:
        raise StateError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise StateError(
            f"{path}: not a manifest as callsheet writes it: {error}",
            hint="`callsheet resume RUN` writes it again",
        ) from error
    missing = [name for name in ("manifest_version", "run", "job", "counts", "usage") if name not in members]
    if missing:
        raise StateError(
            f"{path}: not a whole manifest: no `{missing[0]}`", hint="`callsheet resume RUN` writes it again"
        )
    return members


def _check_version(members: dict[str, Any], path: Path) -> None:
    version = members.get("manifest_version", MANIFEST_VERSION)
    if version != MANIFEST_VERSION:
        raise StateError(
            f"{path}: a manifest of version {version}, this callsheet knows {MANIFEST_VERSION}",
            hint="use the callsheet that wrote it, or a newer one",
        )
