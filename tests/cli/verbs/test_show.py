"""`callsheet show`: a colleague asks how a clip was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, STORY, VerbBench


@pytest.fixture
def done(verbs: VerbBench) -> VerbBench:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    return verbs


def _shown(verbs: VerbBench, what: str | Path) -> Any:
    assert verbs.call("show", str(what), "--output-format", "json") == ExitCode.DONE, verbs.err
    (document,) = json.loads(verbs.out)
    return document


def test_one_clip_is_found_by_whatever_is_in_hand(
    done: VerbBench, server: SandboxServer, tmp_path: Path
) -> None:
    """Its name, its path, its bytes elsewhere, a digest, an identity, the service's id, an attempt."""
    first = _shown(done, "s1")
    video = next(file for file in first["files"] if file["kind"] == "video")
    moved = tmp_path / "take.mp4"
    shutil.copy(done.root / "rehearsal" / video["path"], moved)
    for what in (
        done.root / "rehearsal" / video["path"],
        video["path"],
        moved,
        video["sha256"],
        video["sha256"][:8],
        first["identity"][:12],
        first["attempts"][0]["remote_id"],
        first["attempts"][0]["id"],
    ):
        assert _shown(done, what)["identity"] == first["identity"], what


def test_it_says_how_the_clip_was_made(done: VerbBench) -> None:
    document = _shown(done, "s2")
    assert document["prompt"] == "A paper boat"
    assert document["seed"] == {"sent": 2, "echoed": 2}
    assert document["usage"]["total_tokens"] > 0
    assert done.call("show", "s2") == ExitCode.DONE
    for words in ("A paper boat", "2 sent, 2 echoed", "tokens", "(here, unchanged)", "unchanged since"):
        assert words in done.out
    assert "next: callsheet run boat.yaml --again s2 " in done.err


def test_what_it_says_to_type_makes_it_again(done: VerbBench, server: SandboxServer) -> None:
    done.call("show", "s2")
    line = done.err.removeprefix("next: callsheet ").split("    ")[0]
    assert done.call(*line.split()) == ExitCode.DONE
    assert server.accepted == 3
    assert [attempt["reason"] for attempt in _shown(done, "s2")["attempts"]] == ["run", "again"]


def test_after_an_edit_of_the_table_nothing_else_is_bought_in_the_name_of_a_clip(verbs: VerbBench) -> None:
    """The job as it was run reads the table as it is now, so a copy of the job alone makes another video."""
    table = verbs.root / "shots.csv"
    table.write_text("id,prompt\nhall,A red boat\n")
    verbs.write(
        "version: 1\nmodels: [byteplus/seedance-1-0-pro]\n"
        "matrix: {shot: {from: shots.csv}}\nrequest: {resolution: 480p, duration: 4, ratio: '1:1'}\n"
        "content: [{type: text, text: '${{ shot.prompt }}'}]\n"
    )
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    identity = _shown(verbs, "hall")["identity"]
    table.write_text("id,prompt\nhall,A green boat\n")
    assert verbs.call("show", identity) == ExitCode.DONE
    (back,) = verbs.err.splitlines()
    assert back.startswith("next: cp rehearsal/runs/")
    _, _, kept, there = back.split("    ")[0].split()
    shutil.copy(verbs.root / kept, verbs.root / there)
    assert verbs.call("show", identity) == ExitCode.DONE
    again = verbs.err.removeprefix("next: callsheet ").split("    ")[0]
    assert verbs.call(*again.split()) == ExitCode.DONE
    assert len(_shown(verbs, identity)["attempts"]) == 2


def test_a_changed_job_file_and_a_lost_video_are_told_with_the_way_back(done: VerbBench) -> None:
    done.write((done.root / "boat.yaml").read_text() + "# edited\n")
    (done.root / "rehearsal/out/s1.mp4").unlink()
    assert done.call("show", "s1") == ExitCode.DONE
    assert "(gone)" in done.out
    assert "changed since" in done.out
    copy, fetch, again = done.err.splitlines()
    assert copy.startswith("next: cp rehearsal/runs/")
    assert "run boat-as-run.yaml --only s1" in fetch
    assert "free of charge" in fetch
    assert "--again s1" in again


def test_an_ambiguous_attempt_says_how_it_ended(verbs: VerbBench) -> None:
    verbs.fault(Kind.ANSWER, status=500)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    (held,) = verbs.unclear()
    assert verbs.call("show", held["task"]) == ExitCode.DONE
    assert "unclear at first" in verbs.out
    assert verbs.call("reconcile", held["task"], "--write-off") == ExitCode.DONE
    verbs.call("show", held["task"])
    assert "settled as written_off (by person)" in verbs.out


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("s22", "did you mean `s2`?"),
        ("x" * 30, "lists the tasks"),
        ("rehearsal/out/s.mp4", "did you mean `out/s2.mp4`?"),
    ],
)
def test_what_is_not_known_is_told_with_near_names(done: VerbBench, what: str, told: str) -> None:
    assert done.call("show", what) == ExitCode.USAGE
    assert told in done.err


def test_a_strange_file_is_told_as_such(done: VerbBench, tmp_path: Path) -> None:
    (tmp_path / "else.mp4").write_bytes(b"else")
    assert done.call("show", str(tmp_path / "else.mp4")) == ExitCode.USAGE
    assert "not a file that this project made" in done.err


def test_before_the_first_run_there_is_nothing_to_show(verbs: VerbBench) -> None:
    assert verbs.call("show", "s1") == ExitCode.USAGE
    assert "nothing has been rehearsed here yet" in verbs.err


def test_a_file_that_is_here_under_another_name_is_not_to_be_fetched(done: VerbBench) -> None:
    (done.root / "rehearsal/out/s1.mp4").write_bytes(b"changed")
    assert done.call("show", "s1") == ExitCode.DONE
    assert "fetches the file again" in done.err
    assert done.call("run", "boat.yaml") == ExitCode.DONE, done.err
    assert done.call("show", "s1") == ExitCode.DONE
    assert "s1-2.mp4" in done.out
    assert "fetches the file again" not in done.err
    assert "which is paid for" not in done.err, "a rehearsal is free"


def test_a_clip_of_a_later_step_says_what_it_was_made_from(verbs: VerbBench) -> None:
    verbs.write(STORY)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    (shown,) = [one for one in _all(verbs) if one["step"] == "second"]
    (taken,) = shown["inputs"]
    assert (taken["role"], taken["output"], taken["task"]) == ("first_frame", "last_frame", "first-s7")
    verbs.call("show", shown["name"])
    assert "first_frame: last_frame of first-s7" in verbs.out


def _all(verbs: VerbBench) -> list[dict[str, Any]]:
    return [_shown(verbs, name) for name in (task["name"] for task in verbs.manifest()["tasks"])]


def test_a_new_take_is_all_that_its_line_buys(verbs: VerbBench, server: SandboxServer) -> None:
    """The job has tasks by now that were never submitted."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    verbs.call("show", "s2")
    line = verbs.err.removeprefix("next: callsheet ").split("    ")[0]
    verbs.write(JOB.replace("1..2", "1..5"))
    assert verbs.call(*line.split()) == ExitCode.DONE, verbs.err
    assert server.accepted == 3


def test_an_unclear_task_is_gone_on_with_and_not_made_again(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.write(JOB.replace("settle: 0s", "settle: 60s"))
    verbs.fault(Kind.CUT, accept=True, times=None)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        verbs.call("run", "boat.yaml", "--deadline", "60s")
    verbs.call("show", "s2")
    assert "--again" not in verbs.err
    assert "goes on with it; nothing is paid twice" in verbs.err


def test_a_held_task_is_for_reconcile(verbs: VerbBench) -> None:
    verbs.fault(Kind.ANSWER, status=500, times=None)
    assert verbs.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    verbs.call("show", "s1")
    assert "--again" not in verbs.err
    assert "next: callsheet reconcile" in verbs.err
