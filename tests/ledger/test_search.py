"""Finding a task by what a person has in hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

import pytest

from runner.ledger.search import LedgerSearch

IDENTITIES = ("a" * 64, "b" * 64)


@pytest.fixture
def search() -> Iterator[LedgerSearch]:
    """Two tasks of one name; the second was submitted later."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(files("runner.ledger").joinpath("schema.sql").read_text(encoding="utf-8"))
    connection.execute("INSERT INTO runs VALUES ('r', 'a.yaml', 'a', '', '', '', 'mesh', 'o', 0, NULL)")
    for number, identity in enumerate(IDENTITIES):
        connection.execute(
            "INSERT INTO tasks VALUES (?, 's1', '', 'a.yaml', 'mesh', 'o', 'm', 1, NULL, '', '{}', '{}', '')",
            (identity,),
        )
        connection.execute(
            "INSERT INTO attempts (id, identity, run_id, reason, origin, key_hash, model, body_sha256,"
            " server_time, intended_at, state, remote_id)"
            " VALUES (?, ?, 'r', 'run', 'o', '', 'm', '', 0, 0, 'done', ?)",
            (f"{number}" * 32, identity, f"t-{number}"),
        )
        connection.execute(
            "INSERT INTO outputs (path, identity, attempt_id, kind, ordinal, bytes, sha256, media,"
            " created_at) VALUES ('out/a.mp4', ?, ?, 'video', 1, 1, ?, ?, 0)",
            (identity, f"{number}" * 32, f"{number + 2}" * 64, '{"container": "mp4"}'),
        )
    found = LedgerSearch(connection)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("words", "identities"),
    [
        ("s1", ["b" * 64, "a" * 64]),
        ("a" * 64, ["a" * 64]),
        ("b" * 8, ["b" * 64]),
        ("b" * 7, []),
        ("2" * 64, ["a" * 64]),
        ("3" * 8, ["b" * 64]),
        ("1" * 32, ["b" * 64]),
        ("t-0", ["a" * 64]),
        ("S1", []),
        ("", []),
        ("s1' OR 1=1 --", []),
    ],
)
def test_a_name_a_digest_and_an_id_find_their_tasks_newest_first(
    search: LedgerSearch, words: str, identities: list[str]
) -> None:
    assert [found.task.identity for found in search.find(words)] == identities


def test_names_are_told_once(search: LedgerSearch) -> None:
    assert list(search.names()) == ["s1"]
