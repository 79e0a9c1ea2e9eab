"""Where a project's ledger is, and how it is read; `open_ledger` in ledger.py opens it for writing."""

from __future__ import annotations

import datetime

from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.search import LedgerSearch
from runner.project import Project


def has_ledger(project: Project) -> bool:
    """Whether there is one: a project that has run nothing has none."""
    return project.ledger_path.exists()


def open_reader(project: Project, zone: datetime.tzinfo | None = None) -> LedgerReader:
    """The ledger for reading beside a writer. Raises StateError.

    An older one is read as its upgrade will have it, with the days of `zone`.
    """
    return LedgerReader(open_for_reading(project.ledger_path, zone))


def open_search(project: Project) -> LedgerSearch:
    """The same, for finding tasks by what a person has in hand."""
    return LedgerSearch(open_for_reading(project.ledger_path))


def ledger_words(project: Project) -> str:
    """Where it is, for a person."""
    return str(project.ledger_path)
