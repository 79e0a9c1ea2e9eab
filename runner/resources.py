"""The JSON Schemas that ship with callsheet."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


def schema_path(name: str) -> Path:
    """The file of the schema `name` (`job` or `manifest`).

    A wheel carries the schemas as `runner/schemas`; a checkout and an editable install keep them
    beside the package. Raises FileNotFoundError where there is no such schema.
    """
    file = f"{name}.schema.json"
    for directory in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas"):
        if (directory / file).is_file():
            return directory / file
    raise FileNotFoundError(file)


@functools.cache
def load_schema(name: str) -> dict[str, Any]:
    """The schema as a plain dict; treat it as read-only, it is shared."""
    loaded: dict[str, Any] = json.loads(schema_path(name).read_text(encoding="utf-8"))
    return loaded
