"""Plain JSON values, as they stand in job files, requests and documents."""

from __future__ import annotations

from typing import TypeAlias

JsonValue: TypeAlias = (
    "bool | int | float | str | list[JsonValue] | tuple[JsonValue, ...] | dict[str, JsonValue] | None"
)
