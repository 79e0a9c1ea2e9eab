"""Texts of a table, which know where they stand and have no type of their own yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runner.job.yaml.nodes import Location, cut
from runner.json_value import JsonValue

_NO = frozenset({"", "false", "no", "off", "none", "n", "0"})
"""Cells that say no where an expression asks: spreadsheets write FALSE, people write the others."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_LEADING_NUMBER = re.compile(r"-?[0-9]{1,9}")


class CellText(str):
    """A cell of a table. As a condition it is false where it says no: FALSE, no, off, none, n, 0."""

    __slots__ = ("location",)

    location: Location

    def __new__(cls, text: str, location: Location) -> CellText:
        cell = super().__new__(cls, text)
        cell.location = location
        return cell

    def __bool__(self) -> bool:
        return self.strip().casefold() not in _NO


def typed(cell: CellText, schema: Mapping[str, Any]) -> JsonValue:
    """The cell as the schema of its field wants it; as plain text where it is not of that type."""
    text, kinds = str(cell), _kinds(schema)
    if "string" in kinds or not kinds:
        return text
    if "boolean" in kinds and text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    if kinds & {"integer", "number"} and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def how_to_write(cell: CellText, schema: Mapping[str, Any]) -> tuple[str, str]:
    """(what is wrong, what to do) with a cell that `typed` left as text where its field takes none."""
    kinds = _kinds(schema)
    if "boolean" in kinds:
        return f"must be true or false, not `{cut(cell)}`", "write true or false, or leave the cell empty"
    word = "a whole number" if "integer" in kinds else "a number"
    digits = _LEADING_NUMBER.match(cell)
    example = str(int(digits[0])) if digits else "5"
    return f"must be {word}, not `{cut(cell)}`", f"write digits alone, for example {example}"


def is_text(schema: Mapping[str, Any]) -> bool:
    """Whether a field with this schema takes text."""
    kinds = _kinds(schema)
    return "string" in kinds or not kinds


def _kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    kinds = schema.get("type", ())
    return frozenset({kinds} if isinstance(kinds, str) else kinds)
