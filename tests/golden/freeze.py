"""Writes the golden files: `python -m tests.golden.freeze identities`, `... ledger` or `... answers`.

`identities` adds what new files in `project/` plan, and refuses to change what an old one does.
`ledger` is for a new format of the ledger: it runs every job against the sandbox, under the services'
own addresses, and keeps the ledger and the runs' logs of a project in which all jobs are done.
`answers` asks the command line about the rehearsed project: test_rehearsed.py says when.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import anyio

from runner.errors import ExitCode
from runner.sandbox import SandboxConfig, SandboxServer
from runner.sandbox.results import render
from tests.golden.frozen import IDENTITIES, LEDGER, PROJECT, RUNS, UNSERVED, identities, job_files
from tests.golden.rehearsed import ANSWERS, ASKED, Rehearsed
from tests.golden.served import run_job, still
from tests.support.clips import make_clip


def freeze_identities() -> None:
    text = identities(job_files())
    old = json.loads(IDENTITIES.read_text(encoding="utf-8")) if IDENTITIES.exists() else {}
    changed = [file for file, job in old.items() if json.loads(text).get(file) != job]
    if changed:
        sys.exit(f"identities are frozen, and these would change: {', '.join(changed)}")
    IDENTITIES.write_text(text, encoding="utf-8")


def freeze_ledger() -> None:
    still_video, still_frame = make_clip(frames=4), still()

    still_files = {
        "video.mp4": lambda _picture, path: path.write_bytes(still_video),
        "last_frame.png": lambda _picture, path: path.write_bytes(still_frame),
    }
    with tempfile.TemporaryDirectory() as directory, patch.dict(render.RENDER, still_files):
        root = Path(directory) / "project"
        shutil.copytree(PROJECT, root)
        with SandboxServer(SandboxConfig(latency=(0.0, 0.05))) as server:
            for file in sorted(set(job_files()) - UNSERVED):
                result = anyio.run(run_job, root, file, server.url)
                if result.exit_code is not ExitCode.DONE:
                    sys.exit(f"{file}: {result.exit_code.name}: {'; '.join(result.reasons)}")
        _keep(root, still_video, still_frame)


def freeze_answers() -> None:
    """Asks in a new copy for each file, because `run` changes what the others would be told."""
    ANSWERS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        for name in ASKED:
            project = Rehearsed.unpack(Path(directory) / name)
            with contextlib.chdir(project.root):
                answers = [project.ask(command) for command in project.commands(name)]
            text = json.dumps(answers, ensure_ascii=False, indent=1)
            (ANSWERS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _keep(root: Path, video: bytes, frame: bytes) -> None:
    shutil.rmtree(LEDGER.parent, ignore_errors=True)
    LEDGER.parent.mkdir()
    with sqlite3.connect(root / ".callsheet" / "ledger.db") as ledger:
        ledger.execute("VACUUM INTO ?", (str(LEDGER),))
    (LEDGER.parent / "video.mp4").write_bytes(video)
    (LEDGER.parent / "last_frame.png").write_bytes(frame)
    for log in (root / "runs").glob("[0-9]*/events.jsonl"):
        kept = RUNS / log.parent.name / log.name
        kept.parent.mkdir(parents=True)
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept.write_text("".join(line for line in lines if "task.intended" in line), encoding="utf-8")


if __name__ == "__main__":
    {"identities": freeze_identities, "ledger": freeze_ledger, "answers": freeze_answers}[sys.argv[1]]()
