"""A ledger that has forgotten what was paid for: the logs of the runs know better."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.evidence import evidence_but
from tests.support.verb_bench import JOB, VerbBench


@pytest.mark.parametrize("kept", [0, 1], ids=["lost", "put back from a copy"])
def test_a_ledger_that_has_forgotten_a_submit_sends_nothing(
    kept: int, verbs: VerbBench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    ledger = verbs.root / "rehearsal" / ".callsheet" / "ledger.db"
    copies = [b""]
    for seeds in (1, 2):
        verbs.write(JOB.replace("1..2", f"1..{seeds}"))
        with deadline_once(lambda: server.accepted == seeds):  # noqa: B023  it is over before the next turn
            assert verbs.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
        copies.append(ledger.read_bytes())
    ledger.unlink()
    if kept:
        ledger.write_bytes(copies[kept])
    server.faults.clear()
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "is an older copy; nothing was sent" in verbs.err
    assert server.accepted == 2


def test_a_person_can_say_that_they_are_new(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (verbs.root / "rehearsal" / ".callsheet" / "ledger.db").unlink()
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    runs = verbs.root / "rehearsal" / "runs"
    (runs / (runs / "latest").readlink()).rename(verbs.root / "archived")
    (verbs.root / "rehearsal" / "out").rename(verbs.root / "archived-out")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 4


def test_a_run_folder_in_which_nothing_was_submitted_is_no_sign(verbs: VerbBench) -> None:
    """A start that is killed between its folder and its first commit leaves one."""
    for name in ("20260531T220000Z-a1b2c3", "my notes (old)"):
        (verbs.root / "rehearsal" / "runs" / name).mkdir(parents=True)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE


@pytest.mark.fault(157)
def test_a_folder_whose_times_are_none_keeps_nobody_from_fetching(
    verbs: VerbBench, server: SandboxServer
) -> None:
    """In its log, or in its manifest where that log is gone; a recovery reads both."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    runs = verbs.root / "rehearsal" / "runs"
    folder = runs / (runs / "latest").readlink()
    spoil(folder / "events.jsonl", r'(?<="at":")[^"]+', "2026-99-99T00:00:00.000Z")
    for verb in (("run", "boat.yaml"), ("collect",), ("plan", "boat.yaml")):
        assert verbs.call(*verb) == ExitCode.DONE, (verb, verbs.err)
    (folder / "events.jsonl").unlink()
    spoil(folder / "manifest.json", r'(?<="intended_at": ")[^"]+', "yesterday")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    spoil(folder / "manifest.json", r'(?<="started_at": ")[^"]+', "yesterday")
    (verbs.root / "rehearsal" / ".callsheet" / "ledger.db").unlink()
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED, verbs.err
    assert server.accepted == 2


def spoil(file: Path, pattern: str, by: str) -> None:
    text = file.read_text()
    file.write_text(re.sub(pattern, by, text))
    assert file.read_text() != text


def test_a_directory_in_the_place_of_the_link_is_told_as_such(verbs: VerbBench) -> None:
    (verbs.root / "rehearsal" / "runs" / "latest").mkdir(parents=True)
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "is not a symbolic link" in verbs.err


@pytest.fixture
def older(verbs: VerbBench, server: SandboxServer) -> VerbBench:
    """A ledger put back from a copy; the newest run, which it knows nothing of, submitted nothing."""
    ledger = verbs.root / "rehearsal" / ".callsheet" / "ledger.db"
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    verbs.write(JOB.replace("1..2", "1..3"))
    with deadline_once(lambda: server.accepted == 3):
        assert verbs.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
    verbs.write(JOB.replace("1..2", "1..4"))
    copy = ledger.read_bytes()
    with deadline_once(lambda: server.accepted == 4):
        assert verbs.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (verbs.root / "other.yaml").write_text(JOB)
    assert verbs.call("run", "other.yaml") == ExitCode.DONE
    ledger.write_bytes(copy)
    return verbs


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    "left",
    evidence_but(
        lambda left: left in ("all", "a packed log"),
        ["all", "no link", "a torn line", "a link elsewhere", "a packed log"],
    ),
)
@pytest.mark.parametrize("verb", ["run", "resume", "retry"])
def test_the_last_intent_of_every_known_run_counts(
    verb: str, left: str, older: VerbBench, server: SandboxServer
) -> None:
    runs = older.root / "rehearsal" / "runs"
    forgetful = max(run for run in runs.iterdir() if not run.is_symlink() and _intents(run))
    if left == "no link":
        (runs / "latest").unlink()
    elif left == "a torn line":
        with (forgetful / "events.jsonl").open("a") as log:
            log.write('{"at":"2026-05-31T22:00:00.000Z","event":"task.intended","task":"s9","identity":"00')
    elif left == "a link elsewhere":
        (runs / "latest").unlink()
        (runs / "latest").symlink_to(min(run.name for run in runs.iterdir() if not run.is_symlink()))
    elif left == "a packed log":
        (forgetful / "events.jsonl").rename(forgetful / "events.jsonl.1")
    job_or_run = "boat.yaml" if verb == "run" else forgetful.name
    assert older.call(verb, job_or_run) == ExitCode.CANNOT_WRITE
    assert "is an older copy; nothing was sent" in older.err
    assert forgetful.name in older.err
    assert server.accepted == 4


def _intents(run: Path) -> int:
    return (run / "events.jsonl").read_text().count("task.intended")


@pytest.mark.parametrize(
    ("kept", "verb"),
    evidence_but(
        lambda given: given[1] in ("doctor", "collect"),
        [
            *itertools.product(["a copy", "nothing"], ["doctor", "plan boat.yaml", "collect"]),
            *itertools.product(["nothing"], ["status", "reconcile", "spend", "show s1"]),
        ],
    ),
)
def test_no_verb_speaks_for_a_ledger_that_has_forgotten_a_submit(
    verb: str, kept: str, older: VerbBench, server: SandboxServer
) -> None:
    if kept == "nothing":
        (older.root / "rehearsal" / ".callsheet" / "ledger.db").unlink()
    code = older.call(*verb.split())
    assert code == (ExitCode.DONE if verb == "status" else ExitCode.CANNOT_WRITE)
    assert "tells of submits that the ledger does not know" in older.out + older.err
    assert server.accepted == 4


@pytest.mark.fault(60)
@pytest.mark.parametrize("verb", ["status", "reconcile", "spend", "show s1", "doctor", "plan boat.yaml"])
def test_the_empty_ledger_that_a_refused_run_leaves_remembers_nothing(
    verb: str, verbs: VerbBench, server: SandboxServer
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    ledger = verbs.root / "rehearsal" / ".callsheet" / "ledger.db"
    ledger.unlink()
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert ledger.exists()
    code = verbs.call(*verb.split())
    assert code == (ExitCode.DONE if verb == "status" else ExitCode.CANNOT_WRITE)
    assert "tells of submits that the ledger does not know" in verbs.out + verbs.err
    assert server.accepted == 2


@pytest.mark.parametrize(
    ("verb", "code"),
    [("status", ExitCode.USAGE), ("spend", ExitCode.DONE), ("show s1", ExitCode.USAGE)],
)
def test_a_ledger_without_any_run_is_as_good_as_none(verb: str, code: ExitCode, verbs: VerbBench) -> None:
    verbs.write(JOB + "budget: {max_usd: 5}\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.REFUSED
    assert (verbs.root / "rehearsal" / ".callsheet" / "ledger.db").exists()
    assert verbs.call(*verb.split()) == code
    assert "nothing has been rehearsed here yet" in verbs.err


@pytest.mark.fault(60)
def test_collect_fetches_what_the_older_ledger_knows(older: VerbBench, server: SandboxServer) -> None:
    assert older.call("collect") == ExitCode.CANNOT_WRITE
    assert "3 done" in older.out


@pytest.mark.fault(60)
def test_an_intent_that_was_used_again_since_the_copy_counts_too(
    verbs: VerbBench, server: SandboxServer
) -> None:
    """Stopped for want of money, copied, paid for: the older ledger knows the intent, as one unsent."""
    ledger = verbs.root / "rehearsal" / ".callsheet" / "ledger.db"
    verbs.write(JOB.replace("1..2", "1"))
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    copy = ledger.read_bytes()
    server.faults.clear()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    ledger.write_bytes(copy)
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert server.accepted == 1


def test_a_log_that_cannot_be_read_proves_nothing(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (log,) = (verbs.root / "rehearsal" / "runs").glob("2*/events.jsonl")
    log.rename(log.with_suffix(".old"))
    log.mkdir()
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert f"{log}: " in verbs.err
