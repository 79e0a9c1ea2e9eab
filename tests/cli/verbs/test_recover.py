"""`callsheet recover`: a lost ledger is made again, and nothing that was paid for is bought a second time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from runner.cli.verbs import recover as verb
from runner.errors import ExitCode
from runner.run import lost
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, STORY, VerbBench


def ledger_of(verbs: VerbBench) -> Path:
    return verbs.root / "rehearsal" / ".callsheet" / "ledger.db"


def run_folder(verbs: VerbBench) -> Path:
    runs = verbs.root / "rehearsal" / "runs"
    return runs / (runs / "latest").readlink()


def rows(ledger: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        return database.execute(query).fetchall()


def lose(verbs: VerbBench) -> None:
    for end in ("", "-wal", "-shm"):
        ledger_of(verbs).with_name(f"ledger.db{end}").unlink(missing_ok=True)


def stop_in_flight(verbs: VerbBench, server: SandboxServer, accepted: int) -> None:
    """A run that ends with so many tasks accepted in all, and none of the newer ones done."""
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    with deadline_once(lambda: server.accepted == accepted):
        assert verbs.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()


ATTEMPTS = """SELECT id, identity, run_id, reason, origin, key_hash, attempts.model, attempts.seed, tag,
    body_sha256, round(attempts.server_time, 2), round(intended_at, 2), state, verdict, resolution, remote_id,
    estimate_micros, cost_micros, price, taken, account, labels, day, month FROM attempts ORDER BY seq"""
TASKS = """SELECT identity, name, step, job_file, provider, origin, model, seed, sample, edition, cell,
    request, output FROM tasks ORDER BY identity"""
OUTPUTS = "SELECT path, identity, attempt_id, kind, ordinal, bytes, sha256 FROM outputs ORDER BY path"
RUNS = """SELECT id, job_file, job_name, job_digest, edition, run_date, provider, origin,
    round(started_at, 2), finished_at IS NULL FROM runs ORDER BY id"""
CLAIMS = "SELECT path, identity FROM claims ORDER BY path"
SPENDS = "SELECT * FROM spends ORDER BY 1, 2, 3, 4"


@pytest.mark.fault(154)
@pytest.mark.parametrize("is_ended", [True, False], ids=["after its end", "in flight"])
def test_the_rows_of_a_lost_ledger_are_the_same_again(
    is_ended: bool, verbs: VerbBench, server: SandboxServer
) -> None:
    """All that can be known of them: of two steps, with labels, prices and what one takes of the other."""
    verbs.write(STORY.replace("run: {", "price: {usd_per_mtok: 2}\nrun: {"))
    if is_ended:
        assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    else:
        stop_in_flight(verbs, server, 1)
    kept = verbs.root / "kept.db"
    rows(ledger_of(verbs), "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(ledger_of(verbs), kept)
    salt = rows(kept, "SELECT key, value FROM meta")
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE, verbs.err
    made = ledger_of(verbs)
    for query in (TASKS, OUTPUTS, RUNS, CLAIMS):
        assert rows(made, query) == rows(kept, query)
    again, before = rows(made, ATTEMPTS), rows(kept, ATTEMPTS)
    assert [row[:5] + row[6:] for row in again] == [row[:5] + row[6:] for row in before]
    assert rows(made, "SELECT key, value FROM meta") != salt
    assert rows(made, "SELECT max(length(key_hash)), min(length(key_hash)) FROM attempts") == [(64, 64)]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2
    assert verbs.states() == ["done", "done"]
    assert verbs.call("verify") == ExitCode.DONE


@pytest.mark.fault(154)
def test_what_is_done_or_in_flight_is_never_bought_again(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    verbs.write(JOB.replace("1..2", "1..4"))
    stop_in_flight(verbs, server, 4)
    lose(verbs)
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "callsheet recover" in verbs.err
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert "2 done" in verbs.out
    assert "2 in flight" in verbs.out
    assert "callsheet collect" in verbs.err
    assert verbs.call("collect") == ExitCode.DONE
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.states() == ["done"] * 4
    assert server.accepted == 4


@pytest.mark.fault(155)
@pytest.mark.parametrize("how", ["older", "damaged", "cut", "empty", "lost"])
def test_whatever_is_left_of_it_what_was_paid_since_is_found(
    how: str, verbs: VerbBench, server: SandboxServer
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    copy, salt = ledger_of(verbs).read_bytes(), rows(ledger_of(verbs), "SELECT key, value FROM meta")
    verbs.write(JOB.replace("1..2", "1..3"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    ((page,),) = rows(ledger_of(verbs), "SELECT rootpage FROM sqlite_master WHERE name = 'attempts'")
    newest = ledger_of(verbs).read_bytes()
    lose(verbs)
    pages = bytearray(newest)
    pages[(page - 1) * 4096 : page * 4096] = b"\x5a" * 4096
    left = {"older": copy, "damaged": bytes(pages), "cut": newest[: len(newest) // 2], "empty": b""}.get(how)
    if left is not None:
        ledger_of(verbs).write_bytes(left)
    assert verbs.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    if how == "lost":
        lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE, verbs.err
    assert rows(ledger_of(verbs), "SELECT state, count(*) FROM attempts GROUP BY 1") == [("done", 3)]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 3
    aside = ledger_of(verbs).with_name("ledger.db.lost-1")
    assert aside.exists() is (how != "lost")
    if how in ("older", "damaged", "cut"):
        assert aside.read_bytes() == left
    kept = dict(rows(ledger_of(verbs), "SELECT key, value FROM meta"))
    assert (kept["salt"] == dict(salt)["salt"]) is (how in ("older", "damaged"))
    assert kept["ledger_id"] != dict(salt)["ledger_id"]


def test_a_ledger_that_knows_all_stays_as_it_is(verbs: VerbBench) -> None:
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert not ledger_of(verbs).exists()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    before = ledger_of(verbs).read_bytes()
    assert verbs.call("recover") == ExitCode.DONE
    assert verbs.out == "nothing to recover: the ledger knows all that runs/ tells\n"
    assert ledger_of(verbs).read_bytes() == before
    assert not [each.name for each in ledger_of(verbs).parent.glob("ledger.db.*")]


def test_nothing_changes_before_somebody_agrees(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    lose(verbs)
    assert verbs.call("recover", "--dry-run") == ExitCode.DONE
    assert "a new ledger: 2 done" in verbs.out
    assert verbs.call("recover") == ExitCode.REFUSED
    assert "--yes" in verbs.err
    assert not ledger_of(verbs).exists()
    assert verbs.call("recover", "--yes", "--output-format", "json") == ExitCode.DONE
    told = json.loads(verbs.out)
    assert (told["ledger"], told["runs"], told["submits"], told["counts"]) == ("lost", 1, 2, {"done": 2})
    assert (told["listed"], told["moved_to"], told["exit_code"]) == ({"mesh": 2}, None, 0)


def forget(verbs: VerbBench, *events: str) -> None:
    """The run is killed before it writes these events."""
    log = run_folder(verbs) / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if json.loads(line)["event"] not in events))
    (run_folder(verbs) / "manifest.json").unlink()


AFTER_INTENT = (
    "task.submitted",
    "task.status",
    "task.download",
    "task.file",
    "task.done",
    "run.finished",
)


@pytest.mark.fault(154)
def test_an_intent_without_an_end_is_found_in_the_list_of_its_key(
    verbs: VerbBench, server: SandboxServer
) -> None:
    """One of its tasks is known by its id, and so whose list it is; the other one by its tag."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    log = run_folder(verbs) / "events.jsonl"
    kept = next(line for line in log.read_text().splitlines() if '"task.submitted"' in line)
    forget(verbs, *AFTER_INTENT)
    with log.open("a") as file:
        file.write(f"{kept}\n")
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert rows(ledger_of(verbs), "SELECT state FROM attempts ORDER BY 1") == [("ambiguous",), ("submitted",)]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert verbs.states() == ["done", "done"]
    assert server.accepted == 2


@pytest.mark.fault(159)
def test_where_nothing_shows_whose_key_it_was_an_intent_is_held(
    verbs: VerbBench, server: SandboxServer
) -> None:
    """Another key's list shows nothing, with a witness of its own: it would be taken for absent."""
    verbs.write(JOB.replace("1..2", "1"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    forget(verbs, *AFTER_INTENT)
    lose(verbs)
    shutil.rmtree(verbs.root / "rehearsal" / "out")
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED
    assert "callsheet reconcile" in verbs.err
    assert rows(
        ledger_of(verbs), "SELECT state, row FROM (SELECT state, evidence ->> 'row' AS row FROM attempts)"
    ) == [("held", 154)]
    verbs.write(JOB)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 2
    (task,) = [each.id for each in server.tasks()][:1]
    assert verbs.call("reconcile", "s1", "--adopt", task) == ExitCode.DONE
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2


@pytest.mark.fault(159)
def test_two_tags_of_one_key_in_its_list_show_whose_they_are(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    forget(verbs, *AFTER_INTENT)
    lose(verbs)
    shutil.rmtree(verbs.root / "rehearsal" / "out")
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert (verbs.states(), server.accepted) == (["done", "done"], 2)


@pytest.mark.fault(159)
def test_a_list_that_cannot_be_read_is_not_guessed(
    verbs: VerbBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    forget(verbs, *AFTER_INTENT)
    lose(verbs)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=401, times=None))
    assert verbs.call("recover", "--yes") == ExitCode.UNREACHABLE
    assert "callsheet recover --no-lists" in verbs.err
    server.faults.clear()
    monkeypatch.delenv("MESHAPI_API_KEY")
    assert verbs.call("recover", "--yes") == ExitCode.KEY_REFUSED
    assert not ledger_of(verbs).exists()
    assert verbs.call("recover", "--yes", "--no-lists") == ExitCode.PERSON_NEEDED
    assert "2 held" in verbs.out
    assert server.accepted == 2


@pytest.mark.fault(159)
def test_a_generation_of_which_no_log_tells_is_told(verbs: VerbBench, server: SandboxServer) -> None:
    """Its run's folder is gone: nobody but the service knows of it."""
    verbs.write(JOB.replace("1..2", "1"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    log = run_folder(verbs) / "events.jsonl"
    verbs.write(JOB.replace("1..2", "2"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    shutil.rmtree(run_folder(verbs))
    assert log.exists()
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED
    newest = [each.id for each in server.tasks()][-1]
    assert f"mesh lists {newest}" in verbs.err
    assert "no log tells of it" in verbs.err


@pytest.mark.fault(156)
def test_what_a_lost_line_of_a_log_may_have_told_is_held(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    log = run_folder(verbs) / "events.jsonl"
    lines = [line for line in log.read_text().splitlines() if '"task":"s2"' not in line]
    torn = '{"at":"2026-05-31T22:00:00.000Z","event":"task.intended","task":"s2","identity":"00'
    log.write_text("\n".join([*lines[:1], torn, *lines[1:]]) + "\n")
    (run_folder(verbs) / "manifest.json").unlink()
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED
    assert "1 held" in verbs.out
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 2
    (held,) = verbs.unclear()
    assert (held["task"], held["evidence"]["row"]) == ("s2", 156)


@pytest.mark.fault(156)
def test_a_log_that_has_lost_lines_holds_what_no_other_line_tells_of(
    verbs: VerbBench, server: SandboxServer
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    log = run_folder(verbs) / "events.jsonl"
    lines = [line for line in log.read_text().splitlines() if '"task":"s2"' not in line]
    lines.insert(2, '{"at":"2026-05-31T22:00:00.000Z","event":"log.lost","lines":3}')
    log.write_text("\n".join(lines) + "\n")
    (run_folder(verbs) / "manifest.json").unlink()
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED
    assert rows(ledger_of(verbs), "SELECT state, count(*) FROM attempts GROUP BY 1") == [
        ("done", 1),
        ("held", 1),
    ]
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    assert server.accepted == 2


@pytest.mark.fault(157)
def test_a_hostile_folder_takes_nothing_along(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    runs = run_folder(verbs).parent
    (verbs.root / "secret.mp4").write_bytes(b"x" * 100)
    hostile = runs / "20260531T220000Z-a1b2c3"
    hostile.mkdir()
    identity, attempt = "ab" * 32, "cd" * 16
    at = '"at":"2026-05-31T22:00:00.000Z"'
    whose = f'"task":"a","identity":"{identity}","attempt":"{attempt}"'
    lines = [
        f'{{{at},"event":"run.started","run":"x","job":"../../etc/passwd","tasks":1}}',
        f'{{{at},"event":"task.intended",{whose},"account":"mesh"}}',
        f'{{{at},"event":"task.submitted",{whose},"remote_id":"a b"}}',
        f'{{{at},"event":"task.file",{whose},"path":"../secret.mp4","bytes":100}}',
        f'{{{at},"event":"task.intended","task":"\\uD800","identity":"{"ef" * 32}","attempt":"{attempt}1"}}',
        f'{{{at},"event":"task.intended","task":"a","identity":7,"attempt":"{attempt}"}}',
        f'{{{at},"event":"task.intended","task":"a","identity":"{identity}","attempt":"../../x"}}',
        f'{{{at},"event":"task.done","task":"a","identity":"{identity}","attempt":' + "[" * 100_000 + "}",
        f'{{{at},"event":"task.status","text":"' + "x" * (9 << 20) + '"}',
        "\udcff\x00 not JSON",
    ]
    (hostile / "events.jsonl").write_text("\n".join(lines) + "\n", errors="surrogateescape")
    (hostile / "manifest.json").write_text('{\n"manifest_version": 1,\n"tasks": [\n{"identity": 5}\n]\n')
    (runs / "20260531T220001Z-a1b2c3").symlink_to(verbs.root)
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.PERSON_NEEDED
    states = rows(ledger_of(verbs), "SELECT state, count(*) FROM attempts GROUP BY 1")
    assert states == [("done", 2), ("held", 1)]
    assert rows(ledger_of(verbs), "SELECT count(*) FROM outputs WHERE path LIKE '%secret%'") == [(0,)]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2


@pytest.mark.fault(157)
def test_a_run_of_another_project_is_refused(verbs: VerbBench) -> None:
    (verbs.root / "callsheet.yaml").write_text("version: 1\nproject: 7f3a9c12\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (verbs.root / "callsheet.yaml").write_text("version: 1\nproject: 7f3a9c13\n")
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.NO_PROJECT
    assert "7f3a9c12" in verbs.err
    (verbs.root / "callsheet.yaml").write_text("version: 1\nproject: 7f3a9c12\n")
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert rows(ledger_of(verbs), "SELECT value FROM meta WHERE key = 'project'") == [("7f3a9c12",)]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs afterwards."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """Dies before the so-many-th step of putting the new ledger in place."""
    steps = [0]
    real_rename, real_sync = Path.rename, lost.sync_directory

    def count() -> None:
        steps[0] += 1
        if steps[0] == step:
            raise Killed

    def rename(self: Path, target: Path) -> Path:
        count()
        return real_rename(self, target)

    def sync_directory(directory: Path) -> None:
        count()
        real_sync(directory)

    with (
        patch.object(Path, "rename", rename),
        patch.object(lost, "sync_directory", sync_directory),
        patch.object(verb, "drop_staging", lambda project: None),
    ):
        yield steps


@pytest.mark.fault(158)
def test_killed_at_any_step_it_goes_on(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    folder = ledger_of(verbs).parent
    kept = verbs.root / "kept"
    for end, content in (("", b"no ledger" * 1000), ("-wal", b"wal"), ("-shm", b"shm")):
        (folder / f"ledger.db{end}").write_bytes(content)
    shutil.copytree(folder, kept)
    for step in range(1, 9):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        with killed_at(step), contextlib.suppress(Killed):
            verbs.call("recover", "--yes")
        assert verbs.call("recover", "--yes") == ExitCode.DONE, (step, verbs.err)
        states = rows(ledger_of(verbs), "SELECT state, count(*) FROM attempts GROUP BY 1")
        assert states == [("done", 2)]
        saved = {each.read_bytes() for each in folder.glob("ledger.db.lost-*")}
        assert saved >= {b"no ledger" * 1000, b"wal"}
        assert not (folder / "ledger.db.recovering").exists()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 2


def test_the_steps_of_the_move_are_all_met(verbs: VerbBench) -> None:
    """Of the test above: a step that is never reached proves nothing."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    for end in ("", "-wal", "-shm"):
        (ledger_of(verbs).parent / f"ledger.db{end}").write_bytes(b"no ledger")
    with killed_at(100) as steps:
        assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert steps == [8]


def test_edits_and_versions_keep_their_places(verbs: VerbBench, server: SandboxServer) -> None:
    """An edit, and an edit undone: each take lies where it lay, and nothing is bought again."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    edited = JOB.replace("A paper boat", "A red paper boat")
    verbs.write(edited)
    assert verbs.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE
    assert server.accepted == 4
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    for text in (edited, JOB, edited):
        verbs.write(text)
        assert verbs.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE, verbs.err
        assert verbs.states() == ["done", "done"]
    assert server.accepted == 4
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    verbs.write(JOB)
    assert verbs.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE
    assert server.accepted == 4
    assert verbs.call("verify") == ExitCode.DONE


def test_a_retry_an_again_and_a_refusal_stay_what_they_were(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(JOB.replace("1..2", "1..3"))
    verbs.fault(Kind.ANSWER, status=400, code="bad", times=1)
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", code="internal", times=1))
    assert verbs.call("retry") == ExitCode.TASK_FAILED
    assert verbs.call("retry") == ExitCode.DONE
    assert verbs.call("run", "boat.yaml", "--again", "s2") == ExitCode.DONE
    query = "SELECT identity, reason, state, verdict, remote_id, error_code FROM attempts ORDER BY id"
    before, accepted = rows(ledger_of(verbs), query), server.accepted
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert rows(ledger_of(verbs), query) == before
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == accepted


def test_caps_count_what_the_lost_ledger_had_counted(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(JOB + "budget: {max_tasks: 2}\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    before = rows(ledger_of(verbs), "SELECT * FROM spends")
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert rows(ledger_of(verbs), "SELECT * FROM spends") == before
    verbs.write(JOB.replace("1..2", "1..4") + "budget: {max_tasks: 2}\n")
    assert verbs.call("run", "boat.yaml") == ExitCode.REFUSED
    assert server.accepted == 2


def older_log(verbs: VerbBench) -> None:
    """What an older callsheet wrote: no attempt but at the intent, and nothing to make rows from."""
    log = run_folder(verbs) / "events.jsonl"
    lines = []
    for line in log.read_text().splitlines():
        told = json.loads(line)
        for name in ("intent", "sha256", "kind", "ordinal", "request_id"):
            told.pop(name, None)
        if told["event"] != "task.intended":
            told.pop("attempt", None)
        if told["event"] == "run.started":
            told = {name: told[name] for name in ("at", "event", "run", "job", "tasks")}
        lines.append(json.dumps(told, separators=(",", ":")))
    log.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("has_manifest", [True, False], ids=["with its manifest", "killed before it"])
def test_what_an_older_callsheet_left_is_enough_to_pay_once(
    has_manifest: bool, verbs: VerbBench, server: SandboxServer
) -> None:
    verbs.write(STORY)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    older_log(verbs)
    if not has_manifest:
        (run_folder(verbs) / "manifest.json").unlink()
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE, verbs.err
    assert rows(ledger_of(verbs), "SELECT state, count(*) FROM attempts GROUP BY 1") == [("done", 2)]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert (verbs.states(), server.accepted) == (["done", "done"], 2)


def test_files_that_were_copied_back_are_known_by_their_bytes(
    verbs: VerbBench, server: SandboxServer
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    out = verbs.root / "rehearsal" / "out"
    for video in out.glob("*.mp4"):
        os.utime(video)
    (out / "s2.mp4").unlink()
    lose(verbs)
    assert verbs.call("recover", "--yes") == ExitCode.DONE
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert (verbs.states(), server.accepted) == (["done", "done"], 2)
    assert (out / "s2.mp4").exists(), "fetched again, and not bought"
