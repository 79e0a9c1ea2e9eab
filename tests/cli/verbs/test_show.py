"""`callsheet show`: a colleague asks how a clip was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.desk import JOB, STORY, Desk
from tests.support.moment import deadline_once


@pytest.fixture
def done(desk: Desk) -> Desk:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    return desk


def _shown(desk: Desk, what: str | Path) -> Any:
    assert desk.call("show", str(what), "--output-format", "json") == ExitCode.DONE, desk.err
    (document,) = json.loads(desk.out)
    return document


def test_one_clip_is_found_by_whatever_is_in_hand(done: Desk, server: SandboxServer, tmp_path: Path) -> None:
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


def test_it_says_how_the_clip_was_made(done: Desk) -> None:
    document = _shown(done, "s2")
    assert document["prompt"] == "A paper boat"
    assert document["seed"] == {"sent": 2, "echoed": 2}
    assert document["usage"]["total_tokens"] > 0
    assert done.call("show", "s2") == ExitCode.DONE
    for words in ("A paper boat", "2 sent, 2 echoed", "tokens", "(here, unchanged)", "unchanged since"):
        assert words in done.out
    assert "next: callsheet run boat.yaml --again s2 " in done.err


def test_what_it_says_to_type_makes_it_again(done: Desk, server: SandboxServer) -> None:
    done.call("show", "s2")
    line = done.err.removeprefix("next: callsheet ").split("    ")[0]
    assert done.call(*line.split()) == ExitCode.DONE
    assert server.accepted == 3
    assert [attempt["reason"] for attempt in _shown(done, "s2")["attempts"]] == ["run", "again"]


def test_a_changed_job_file_and_a_lost_video_are_told_with_the_way_back(done: Desk) -> None:
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


def test_an_ambiguous_attempt_says_how_it_ended(desk: Desk) -> None:
    desk.fault(Kind.ANSWER, status=500)
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    (held,) = desk.unclear()
    assert desk.call("show", held["task"]) == ExitCode.DONE
    assert "unclear at first" in desk.out
    assert desk.call("reconcile", held["task"], "--write-off") == ExitCode.DONE
    desk.call("show", held["task"])
    assert "settled as written_off (by person)" in desk.out


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("s22", "did you mean `s2`?"),
        ("x" * 30, "lists the tasks"),
        ("rehearsal/out/s.mp4", "did you mean `out/s2.mp4`?"),
    ],
)
def test_what_is_not_known_is_told_with_near_names(done: Desk, what: str, told: str) -> None:
    assert done.call("show", what) == ExitCode.USAGE
    assert told in done.err


def test_a_strange_file_is_told_as_such(done: Desk, tmp_path: Path) -> None:
    (tmp_path / "else.mp4").write_bytes(b"else")
    assert done.call("show", str(tmp_path / "else.mp4")) == ExitCode.USAGE
    assert "not a file that this project made" in done.err


def test_before_the_first_run_there_is_nothing_to_show(desk: Desk) -> None:
    assert desk.call("show", "s1") == ExitCode.USAGE
    assert "nothing has been rehearsed here yet" in desk.err


def test_a_file_that_is_here_under_another_name_is_not_to_be_fetched(done: Desk) -> None:
    (done.root / "rehearsal/out/s1.mp4").write_bytes(b"changed")
    assert done.call("show", "s1") == ExitCode.DONE
    assert "fetches the file again" in done.err
    assert done.call("run", "boat.yaml") == ExitCode.DONE, done.err
    assert done.call("show", "s1") == ExitCode.DONE
    assert "s1-2.mp4" in done.out
    assert "fetches the file again" not in done.err
    assert "which is paid for" not in done.err, "a rehearsal is free"


def test_a_clip_of_a_later_step_says_what_it_was_made_from(desk: Desk) -> None:
    desk.write(STORY)
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    (shown,) = [one for one in _all(desk) if one["step"] == "second"]
    (taken,) = shown["inputs"]
    assert (taken["role"], taken["output"], taken["task"]) == ("first_frame", "last_frame", "first-s7")
    desk.call("show", shown["name"])
    assert "first_frame: last_frame of first-s7" in desk.out


def _all(desk: Desk) -> list[dict[str, Any]]:
    return [_shown(desk, name) for name in (task["name"] for task in desk.manifest()["tasks"])]


def test_a_new_take_is_all_that_its_line_buys(desk: Desk, server: SandboxServer) -> None:
    """The job has tasks by now that were never submitted."""
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    desk.call("show", "s2")
    line = desk.err.removeprefix("next: callsheet ").split("    ")[0]
    desk.write(JOB.replace("1..2", "1..5"))
    assert desk.call(*line.split()) == ExitCode.DONE, desk.err
    assert server.accepted == 3


def test_an_unclear_task_is_gone_on_with_and_not_made_again(desk: Desk, server: SandboxServer) -> None:
    desk.write(JOB.replace("settle: 0s", "settle: 60s"))
    desk.fault(Kind.CUT, accept=True, times=None)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        desk.call("run", "boat.yaml", "--deadline", "60s")
    desk.call("show", "s2")
    assert "--again" not in desk.err
    assert "goes on with it; nothing is paid twice" in desk.err


def test_a_held_task_is_for_reconcile(desk: Desk) -> None:
    desk.fault(Kind.ANSWER, status=500, times=None)
    assert desk.call("run", "boat.yaml") == ExitCode.PERSON_NEEDED
    desk.call("show", "s1")
    assert "--again" not in desk.err
    assert "next: callsheet reconcile" in desk.err
