"""`callsheet verify`: the files of a run against its manifest."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.support.clips import with_noise_for_pictures
from tests.support.verb_bench import VerbBench


@pytest.fixture
def done(verbs: VerbBench) -> VerbBench:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    return verbs


def _clip(verbs: VerbBench) -> Path:
    return verbs.root / "rehearsal/out/s1.mp4"


def _findings(verbs: VerbBench) -> dict[str, str]:
    verbs.call("verify", "--output-format", "jsonl")
    rows = [json.loads(line) for line in verbs.out.splitlines()]
    return {row["path"]: row["finding"] for row in rows if row["finding"] != "same"}


def test_files_that_are_as_they_were_exit_0(done: VerbBench) -> None:
    assert done.call("verify") == ExitCode.DONE
    assert done.out.endswith(": 4 files: 4 same\n")
    assert done.err == ""


def test_a_missing_file_is_told_apart_from_a_changed_one(done: VerbBench) -> None:
    clip = _clip(done)
    data = clip.read_bytes()
    clip.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (clip.parent / "s2.mp4").unlink()
    assert done.call("verify") == ExitCode.TASK_FAILED
    assert [line.split()[:2] for line in done.out.splitlines()[:2]] == [
        ["changed", "rehearsal/out/s1.mp4"],
        ["missing", "rehearsal/out/s2.mp4"],
    ]
    assert "free of charge" in done.err
    assert _findings(done) == {"out/s1.mp4": "changed", "out/s2.mp4": "missing"}


def test_a_file_that_the_run_took_over_broken_is_found_by_the_probe(done: VerbBench) -> None:
    """The digest alone would call it good."""
    clip = _clip(done)
    clip.write_bytes(b"\0" * clip.stat().st_size)
    manifest = done.root / "rehearsal/runs/latest/manifest.json"
    video = json.loads(manifest.read_text())["tasks"][0]["outputs"][0]
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(video["sha256"], digest))
    assert _findings(done) == {"out/s1.mp4": "broken"}


def put_in_place(verbs: VerbBench, content: bytes) -> None:
    """As if the run had fetched these bytes."""
    clip = _clip(verbs)
    old, new = (hashlib.sha256(data).hexdigest() for data in (clip.read_bytes(), content))
    size = clip.stat().st_size
    clip.write_bytes(content)
    manifest = verbs.root / "rehearsal/runs/latest/manifest.json"
    text = manifest.read_text().replace(old, new)
    manifest.write_text(re.sub(rf'"bytes": ?{size}\b', f'"bytes": {len(content)}', text))


@pytest.mark.fault(79)
def test_a_video_that_ffmpeg_cannot_read_is_broken(done: VerbBench) -> None:
    """Its boxes, its digest and its length are right."""
    put_in_place(done, with_noise_for_pictures(_clip(done).read_bytes()))
    assert done.call("verify") == ExitCode.TASK_FAILED
    assert done.out.startswith("broken   rehearsal/out/s1.mp4  (s1)  FFmpeg")
    assert done.out.endswith(": 4 files: 3 same, 1 broken\n")


@pytest.mark.fault(80)
def test_a_process_that_ends_over_a_file_is_told_of_that_file(
    done: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "from runner.media import pictures as p; p.read_picture = None; p.main()"
    monkeypatch.setattr("runner.media.readers._COMMAND", (sys.executable, "-P", "-c", script))
    assert done.call("verify") == ExitCode.TASK_FAILED
    assert done.out.count("FFmpeg crashed over the video (exit code 1)") == 2
    assert done.out.endswith(": 4 files: 2 same, 2 broken\n")


def test_files_are_told_in_the_order_of_the_manifest(done: VerbBench) -> None:
    manifest = done.root / "rehearsal/runs/latest/manifest.json"
    lines = manifest.read_text().split("\n")
    at = lines.index('"tasks": [') + 1
    task = lines[at].rstrip(",")
    lines[at:at] = [task.replace('"name": "s1"', f'"name": "n{number}"') + "," for number in range(450)]
    manifest.write_text("\n".join(lines))
    assert done.call("verify", "--output-format", "jsonl") == ExitCode.DONE
    told = [json.loads(line)["task"] for line in done.out.splitlines()]
    assert told[:450] == [f"n{number}" for number in range(450)]


def test_the_kept_job_file_is_checked_too(done: VerbBench) -> None:
    (done.root / "rehearsal/runs/latest/job.yaml").write_text("version: 2")
    assert _findings(done) == {"job.yaml": "changed"}


def test_a_manifest_cannot_make_us_read_outside(done: VerbBench) -> None:
    manifest = done.root / "rehearsal/runs/latest/manifest.json"
    manifest.write_text(manifest.read_text().replace('"out/s1.mp4"', '"../../../etc/passwd"'))
    done.call("verify", "--output-format", "json")
    (row,) = [row for row in json.loads(done.out)["files"] if row["finding"] != "same"]
    assert "out of the project" in row["why"]


def test_a_missing_pyav_is_said(done: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.cli.verbs.verify.has_pyav", lambda: False)
    assert done.call("verify") == ExitCode.DONE
    assert "pip install 'callsheet[media]'" in done.err


def test_an_archive_without_a_ledger_will_do(done: VerbBench) -> None:
    for file in (done.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    (run,) = [path for path in (done.root / "rehearsal/runs").iterdir() if not path.is_symlink()]
    assert done.call("verify", str(run)) == ExitCode.DONE
    assert done.call("verify", run.name[:12]) == ExitCode.DONE


def test_no_such_run_is_told(done: VerbBench) -> None:
    assert done.call("verify", "19990101") == ExitCode.USAGE
    assert "no run `19990101`" in done.err


@pytest.mark.fault(64)
def test_a_file_that_was_asked_for_and_never_came_is_missing(done: VerbBench) -> None:
    """The manifest says so; a `run` would not bring it, so none is advised."""
    manifest = done.root / "rehearsal/runs/latest/manifest.json"
    manifest.write_text(manifest.read_text().replace('"missing":[]', '"missing":["last_frame"]', 1))
    manifest.write_text(manifest.read_text().replace('"missing": []', '"missing": ["last_frame"]', 1))
    assert done.call("verify") == ExitCode.TASK_FAILED
    assert "the last_frame was asked for and never came" in done.out
    assert "free of charge" not in done.err
