"""Closed sets are written once: SQL and the manifest's schema hold the same words as the enums."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest

from runner.http.verdicts import Verdict
from runner.ledger import states
from runner.ledger.states import OPEN, STATE_WORDS, TRANSITIONS, Reason, Resolution, TaskState, sql_list
from runner.providers.base import RemoteFileKind
from runner.resources import load_schema

SCHEMA = files("runner.ledger").joinpath("schema.sql").read_text(encoding="utf-8")
SPENDS = files("runner.ledger").joinpath("spends.sql").read_text(encoding="utf-8")
MANIFEST = load_schema("manifest")["definitions"]
ATTEMPT = MANIFEST["attempt"]["properties"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (MANIFEST["state"]["enum"], TaskState),
        (MANIFEST["kind"]["enum"], RemoteFileKind),
        (ATTEMPT["reason"]["enum"], Reason),
        (ATTEMPT["verdict"]["enum"], [*Verdict, None]),
        (ATTEMPT["resolution"]["enum"], [*Resolution, None]),
    ],
)
def test_the_schema_of_the_manifest_has_the_words_of_the_enum(
    written: list[str | None], words: Iterable[enum.StrEnum | None]
) -> None:
    assert sorted(map(str, written)) == sorted(map(str, words))


@pytest.mark.parametrize(
    ("index", "condition"),
    [
        ("attempts_open", "state <> 'done'"),
        ("attempts_tags", f"state IN {sql_list(states.MAYBE_LISTED)}"),
        ("attempts_tags", f"resolution IN {sql_list(states.TAKEN_FOR_ABSENT)}"),
    ],
)
def test_an_index_has_the_words_of_its_queries_in_their_order(index: str, condition: str) -> None:
    """SQLite uses a partial index only for a query with the same expression."""
    [made] = re.findall(rf"CREATE INDEX {index} ON .*?;", SCHEMA, re.DOTALL)
    assert condition in " ".join(made.split())


def test_what_counts_against_caps_is_the_same_in_triggers_and_queries() -> None:
    counted = set(re.findall(r"resolution IN (\(.*?\))", SPENDS))
    assert counted == {sql_list(states.COUNTED_ABSENCES)}


def test_the_page_about_the_manifest_names_each_word() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    for word in (*TaskState, *Reason, *Resolution, *Verdict, *RemoteFileKind):
        assert f"`{word}`" in page


def test_sql_has_no_word_that_is_in_no_enum() -> None:
    known = {*map(str, TaskState), *map(str, Resolution), *map(str, Verdict)}
    text = re.sub(r"--.*|RAISE\(.*?\)", "", SCHEMA + SPENDS)
    assert set(re.findall(r"'([a-z_]+)'", text)) <= known


def test_the_reasons_that_the_ledger_explains_are_those_of_the_enum() -> None:
    [told] = re.findall(r"reason TEXT NOT NULL, +-- (.*)", SCHEMA)
    assert told.split(" | ") == list(Reason)


def test_each_state_has_its_words_and_ends_or_goes_on() -> None:
    assert set(STATE_WORDS) == set(TaskState)
    for state in OPEN:
        assert TRANSITIONS[state]
        assert not state.is_terminal
