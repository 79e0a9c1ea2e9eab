"""Ark from the command line: a process that is killed, and the one that goes on."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command_process import callsheet, command, environment
from tests.support.pictures import png

JOB = """\
version: 1
provider: ark
models: [dreamina-seedance-2-0-260128]
samples: 4
request: {resolution: 480p, ratio: adaptive, duration: 4, return_last_frame: true}
content:
  - {type: text, text: A teapot spins}
  - {type: image_url, image_url: a.png, role: first_frame}
output: out/teapot-${{ sample }}.mp4
run: {concurrency: 2, settle: 0s, poll: {first: 50ms, min: 50ms, max: 100ms}}
"""


def accepted(store: Path) -> list[dict[str, object]]:
    """What the sandbox has taken, by its own store, which outlives it."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(store)) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'tasks'").fetchone()
        bodies = database.execute("SELECT body FROM tasks").fetchall() if tables[0] else []
    return [json.loads(body) for (body,) in bodies]


@pytest.mark.evidence
def test_a_killed_run_goes_on_and_pays_for_each_task_once(tmp_path: Path) -> None:
    """By the tag that its account has chosen."""
    assert callsheet("init", tmp_path, cwd=tmp_path).returncode == 0
    accounts = "version: 1\naccounts: {ark: {provider: ark, tag: safety_identifier}}\n"
    (tmp_path / "callsheet.yaml").write_text(accounts, encoding="utf-8")
    job = tmp_path / "jobs" / "ark.yaml"
    job.write_text(JOB, encoding="utf-8")
    job.with_name("a.png").write_bytes(png(640, 360))
    store = tmp_path / "rehearsal" / ".callsheet" / "sandbox" / "tasks.db"
    line = ["run", job, "--sandbox", "--yes"]
    process = subprocess.Popen(
        command(*line),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not accepted(store):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    told = callsheet(*line, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    tags = [body["safety_identifier"] for body in accepted(store)]
    assert len(tags) == len({*tags}) == 4
    files = sorted(file.name for file in (tmp_path / "rehearsal" / "out").iterdir())
    names = [f"teapot-{number}" for number in (1, 2, 3, 4)]
    assert files == sorted([*(f"{name}.mp4" for name in names), *(f"{name}.last.png" for name in names)])
