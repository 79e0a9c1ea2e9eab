"""A ledger in each of the databases that can hold one."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.ledger.caps import Budgets
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.shared import open_shared
from tests.support.ledger_rows import RUN


class Kind(enum.StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


def opened(kind: Kind, request: pytest.FixtureRequest, budgets: Budgets = Budgets()) -> Ledger:  # noqa: B008
    """A new one with an open run."""
    if kind is Kind.SQLITE:
        path: Path = request.getfixturevalue("tmp_path") / "ledger.db"
        ledger = Ledger.open(path, budgets)
    else:
        ledger = Ledger(open_shared(Address.parse(request.getfixturevalue("ledger_url"))), budgets)
    with ledger.transaction():
        ledger.begin_run(RUN)
    return ledger


@pytest.fixture(params=[*Kind])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    made = opened(request.param, request)
    yield made
    made.close()


@pytest.fixture
def file_ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """For what only SQLite's file has."""
    made = opened(Kind.SQLITE, request)
    yield made
    made.close()
