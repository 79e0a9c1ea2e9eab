"""A ledger that has forgotten what was paid for: the logs of the runs know better."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.cli.desk import JOB, Desk
from tests.support.moment import deadline_once


@pytest.mark.parametrize("kept", [0, 1], ids=["lost", "put back from a copy"])
def test_a_ledger_that_has_forgotten_a_submit_sends_nothing(
    kept: int, desk: Desk, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    ledger = desk.root / "rehearsal" / ".callsheet" / "ledger.db"
    copies = [b""]
    for seeds in (1, 2):
        desk.write(JOB.replace("1..2", f"1..{seeds}"))
        with deadline_once(lambda: server.accepted == seeds):  # noqa: B023  it is over before the next turn
            assert desk.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
        copies.append(ledger.read_bytes())
    ledger.unlink()
    if kept:
        ledger.write_bytes(copies[kept])
    server.faults.clear()
    assert desk.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "is an older copy; nothing was sent" in desk.err
    assert server.accepted == 2


def test_a_person_can_say_that_they_are_new(desk: Desk, server: SandboxServer) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    (desk.root / "rehearsal" / ".callsheet" / "ledger.db").unlink()
    assert desk.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    runs = desk.root / "rehearsal" / "runs"
    (runs / (runs / "latest").readlink()).rename(desk.root / "archived")
    (desk.root / "rehearsal" / "out").rename(desk.root / "archived-out")
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    assert server.accepted == 4


def test_a_run_folder_in_which_nothing_was_submitted_is_no_sign(desk: Desk) -> None:
    """A start that is killed between its folder and its first commit leaves one."""
    for name in ("20260531T220000Z-a1b2c3", "my notes (old)"):
        (desk.root / "rehearsal" / "runs" / name).mkdir(parents=True)
    assert desk.call("run", "boat.yaml") == ExitCode.DONE


def test_a_directory_in_the_place_of_the_link_is_told_as_such(desk: Desk) -> None:
    (desk.root / "rehearsal" / "runs" / "latest").mkdir(parents=True)
    assert desk.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "is not a symbolic link" in desk.err
