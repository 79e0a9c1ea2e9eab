"""A ledger in which every frozen job is done makes no POST: not now, and not in a later format.

`ledger/` is what an earlier callsheet left, written by `python -m tests.golden.freeze ledger`, never by hand:
its ledger, the intents of its runs' logs, and the one video and last frame that stand for all. A new format
of the ledger does not replace it: this one has to be brought up to date by whoever opens it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.ledger.database import SCHEMA_VERSION
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.project import init_project
from runner.sandbox import SandboxServer
from tests.golden.frozen import LEDGER, PROJECT, RUNS, UNSERVED, job_files, plan_of
from tests.golden.served import run_job

JOBS = [file for file in job_files() if file not in UNSERVED]


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture(params=["untouched", "written again"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The project as it was left; with its files as they were, or as a copy or a checkout dates them."""
    root = tmp_path / "project"
    shutil.copytree(PROJECT, root)
    ledger = init_project(root).ledger_path
    shutil.copyfile(LEDGER, ledger)
    shutil.copytree(RUNS, root / "runs")
    for path, kind, created_at in _query(ledger, "SELECT path, kind, created_at FROM outputs"):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LEDGER.parent / ("video.mp4" if kind == "video" else "last_frame.png"), file)
        if request.param == "untouched":
            os.utime(file, (created_at, created_at))
    return root


@pytest.mark.anyio
async def test_all_jobs_over_a_frozen_ledger_make_no_post(root: Path, server: SandboxServer) -> None:
    ledger = init_project(root).ledger_path
    before = _query(ledger, "SELECT id, state FROM attempts ORDER BY seq")
    for file in JOBS:
        result = await run_job(root, file, server.url)
        counts = {state: count for state, count in result.counts.items() if count}
        assert (result.exit_code, counts.keys()) == (ExitCode.DONE, {TaskState.DONE}), (file, counts)
    assert server.accepted == 0
    assert _query(ledger, "SELECT id, state FROM attempts ORDER BY seq") == before


def test_the_frozen_ledger_is_brought_up_to_date_with_whose_each_path_is(root: Path) -> None:
    path = init_project(root).ledger_path
    Ledger.open(path).close()
    assert _query(path, "SELECT value FROM meta WHERE key = 'schema'") == [(SCHEMA_VERSION,)]
    claims = _query(path, "SELECT path, identity FROM claims ORDER BY path")
    assert claims == _query(path, "SELECT output, identity FROM tasks ORDER BY output")
    assert len(claims) == len(_query(LEDGER, "SELECT identity FROM tasks"))


def test_the_frozen_ledger_has_paid_once_for_each_task_of_each_job() -> None:
    paid = [row[0] for row in _query(LEDGER, "SELECT identity FROM attempts WHERE state = 'done'")]
    asked = {task.identity for file in JOBS for task in plan_of(file).tasks}
    assert sorted(paid) == sorted(asked)


def _query(ledger: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()
