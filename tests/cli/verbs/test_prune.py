"""What goes, what stays, and that nothing is bought for it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import SandboxServer
from tests.support.verb_bench import STORY, VerbBench

SUFFIXES = ("mp4", "last.png")
PICKY = STORY.replace("seeds: 7", "seeds: 1..3\n    pick: [{seed: 2}]")


def out(verbs: VerbBench, base: str = ".") -> set[str]:
    folder = verbs.root / base / "out"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


def rows(verbs: VerbBench) -> int:
    with contextlib.closing(sqlite3.connect(verbs.root / ".callsheet" / "ledger.db")) as ledger:
        return sum(
            int(ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in ("tasks", "attempts", "outputs", "history")
        )


def take_for_real(verbs: VerbBench) -> None:
    """What was rehearsed becomes the project's own: only loopback can be reached here."""
    for name in (".callsheet", "runs", "out"):
        shutil.rmtree(verbs.root / name, ignore_errors=True)
        shutil.move(verbs.root / "rehearsal" / name, verbs.root / name)
    shutil.rmtree(verbs.root / "rehearsal")


def keep_as_version(verbs: VerbBench, path: str, kept: str) -> None:
    (verbs.root / path).rename(verbs.root / kept)
    with contextlib.closing(sqlite3.connect(verbs.root / ".callsheet" / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE outputs SET path = ? WHERE path = ?", (kept, path))


def test_files_of_a_rehearsal_go_and_its_tasks_stay_done(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.call("prune", "--older", "0s") == ExitCode.DONE
    assert "nothing was removed" in verbs.out
    assert out(verbs, "rehearsal") == {"s1.mp4", "s2.mp4"}
    assert verbs.call("prune", "--older", "0s", "--yes") == ExitCode.DONE
    assert out(verbs, "rehearsal") == set()
    assert verbs.states() == ["done", "done"]
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE  # fetched again, for nothing
    assert (out(verbs, "rehearsal"), server.accepted) == ({"s1.mp4", "s2.mp4"}, 2)


def test_what_is_younger_stays(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.call("prune", "--older", "1h", "--yes") == ExitCode.DONE
    assert out(verbs, "rehearsal") == {"s1.mp4", "s2.mp4"}


def test_of_real_takes_only_older_versions_go(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    take_for_real(verbs)
    keep_as_version(verbs, "out/s2.mp4", "out/s2.v1.mp4")
    before = rows(verbs)
    assert verbs.call("prune", "--older", "0s", "--yes") == ExitCode.DONE
    assert (out(verbs), rows(verbs)) == ({"s1.mp4"}, before)


def test_keep_picked_removes_what_was_passed_over_and_no_final(
    verbs: VerbBench, server: SandboxServer
) -> None:
    verbs.write(PICKY)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    take_for_real(verbs)
    assert len(out(verbs)) == 8
    assert verbs.call("prune", "--older", "0s", "--keep", "picked", "--yes") == ExitCode.DONE
    assert out(verbs) == {f"boat/{step}/s2.{suffix}" for step in ("first", "second") for suffix in SUFFIXES}
    assert (
        verbs.call("prune", "--older", "0s", "--keep", "picked", "--output-format", "json") == ExitCode.DONE
    )
    assert json.loads(verbs.out)["files"] == []


def test_where_nobody_has_picked_yet_all_takes_stay(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(PICKY.replace("[{seed: 2}]", "[]"))
    verbs.call("run", "boat.yaml")
    take_for_real(verbs)
    before = out(verbs)
    assert len(before) == 6
    assert verbs.call("prune", "--older", "0s", "--keep", "picked", "--yes") == ExitCode.DONE
    assert out(verbs) == before


def test_a_take_under_a_name_like_a_version_s_is_a_take(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write((verbs.root / "boat.yaml").read_text().replace("out/s${{ seed }}", "out/s.v${{ seed }}"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    take_for_real(verbs)
    assert verbs.call("prune", "--older", "0s", "--yes") == ExitCode.DONE
    assert out(verbs) == {"s.v1.mp4", "s.v2.mp4"}


def test_a_changed_file_is_left(verbs: VerbBench, server: SandboxServer) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (verbs.root / "rehearsal/out/s1.mp4").write_bytes(b"cut by hand")
    assert verbs.call("prune", "--older", "0s", "--yes") == ExitCode.DONE
    assert out(verbs, "rehearsal") == {"s1.mp4"}


def test_nothing_goes_while_a_run_s_picks_cannot_be_read(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(PICKY)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    take_for_real(verbs)
    for copy in (verbs.root / "runs").glob("2*/job.yaml"):
        copy.unlink()
    assert verbs.call("prune", "--older", "0s", "--keep", "picked", "--yes") == ExitCode.CANNOT_WRITE
    assert "cannot tell which takes it picks" in verbs.err
    assert len(out(verbs)) == 8


def test_a_link_in_the_place_of_a_folder_is_not_followed(
    verbs: VerbBench, server: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    elsewhere = Path(shutil.move(verbs.root / "rehearsal/out", tmp_path_factory.mktemp("elsewhere")))
    (verbs.root / "rehearsal/out").symlink_to(elsewhere)
    verbs.call("prune", "--older", "0s", "--yes")
    assert {path.name for path in elsewhere.iterdir()} == {"s1.mp4", "s2.mp4"}
