"""What was taken for never accepted, from the command line: `collect` finds it, `reconcile` lists it."""

from __future__ import annotations

import json

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.verb_bench import JOB, VerbBench


@pytest.fixture
def absent(verbs: VerbBench, server: SandboxServer) -> VerbBench:
    """The first POST of seed 2 was accepted and cut, and its row lags alone: it was bought again."""
    verbs.write(JOB.replace("settle: 0s", "settle: 0s, submit_slots: 1"))
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1),
        Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None, fields={"seed": 2}),
    )
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 3
    server.faults.clear()
    return verbs


@pytest.mark.fault(78)
def test_collect_finds_a_row_that_turns_up_though_nothing_is_in_flight(
    absent: VerbBench, server: SandboxServer
) -> None:
    assert absent.call("collect") == ExitCode.DONE, absent.err
    assert "is in the service's list after all" in absent.err
    assert absent.call("collect") == ExitCode.DONE
    assert "nothing is in flight" in absent.out + absent.err
    assert server.accepted == 3


def test_reconcile_lists_what_counts_against_budgets_and_a_person_takes_it_out(absent: VerbBench) -> None:
    assert absent.call("reconcile") == ExitCode.DONE
    assert "absent  s2" in absent.out
    assert "--not-billed" in absent.out
    assert absent.call("spend", "--output-format", "json") == ExitCode.DONE
    assert json.loads(absent.out)["total"]["possibly_billed"]["tasks"] == 1
    assert absent.call("reconcile", "s2", "--not-billed") == ExitCode.DONE
    assert absent.call("reconcile") == ExitCode.DONE
    assert "absent" not in absent.out
    assert absent.call("reconcile", "s2", "--not-billed") == ExitCode.USAGE
