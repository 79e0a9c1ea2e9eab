"""`--workers`: what it may be, and that it loads nothing where nothing is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ExitCode
from runner.work.hire import MOST_PROCESSES, Workers
from tests.support.command_process import environment
from tests.support.verb_bench import VerbBench

FORBIDDEN = (
    "runner.lane",
    "runner.run",
    "runner.http.paid",
    "runner.http.free",
    "httpx",
    "httpcore",
)
"""What submits, and what holds a key."""


@given(st.integers(1, MOST_PROCESSES))
def test_a_number_is_processes_of_this_machine(number: int) -> None:
    assert Workers.parse(str(number)) == Workers(processes=number)


@pytest.mark.parametrize("text", ["tcp://scheduler:8786", "tcp://10.0.0.7:8786", "tls://[::1]:8786"])
def test_an_address_is_a_scheduler(text: str) -> None:
    assert Workers.parse(text) == Workers(address=text)


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    try:
        Workers.parse(text)
    except ValueError:
        return
    assert text.isdigit() or text.startswith(("tcp://", "tls://"))


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1025", "٤", "four", "8786", "scheduler:8786", "http://a:1", "tcp://a", "tcp://u:p@a:1"],
)
def test_what_is_refused_is_told_with_what_would_do(text: str, verbs: VerbBench) -> None:
    assert verbs.call("verify", f"--workers={text}") == ExitCode.USAGE
    assert "hint: write it as 4, or as tcp://scheduler:8786" in verbs.err


@pytest.mark.security(33)
def test_what_a_worker_loads_for_a_function_can_submit_nothing() -> None:
    script = (
        "import sys, runner.work.dask; from runner.record.verify import check;"
        " from runner.desk.posters import draw; from runner.store.archive import put_elsewhere;"
        " print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True
    )
    assert "runner.media.readers" in ran.stdout.split()
    assert [name for name in ran.stdout.split() if name in FORBIDDEN] == []
