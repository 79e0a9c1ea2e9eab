"""Runs to look at: real ones in the sandbox, and large ones made of their videos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.desk.report import make_report
from runner.project import Project, find_project
from tests.support.command_process import callsheet

TEAPOT = """\
version: 1
name: teapot
models: [byteplus/seedance-1-0-pro]
seeds: 1..3
matrix:
  ratio: [16:9, 9:16]
  shot:
    - {id: spin, prompt: The teapot spins on a lacquered table}
    - {id: pour, prompt: "Tea is poured into a small white cup [violate]"}
    - {id: steam, prompt: Steam rises into the window light}
exclude:
  - {ratio: 9:16, shot: {id: pour}}
request: {resolution: 480p, duration: 4}
content:
  - {type: text, text: "${{ shot.prompt }}, 35mm"}
price: {usd_per_mtok: 7.0}
output: out/${{ shot.id }}-${{ ratio }}-s${{ seed }}.mp4
run: {poll: {first: 200ms, min: 100ms, max: 200ms}}
"""

BOAT = """\
version: 1
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
steps:
  harbour:
    seeds: 1..3
    matrix: {light: [{id: "dawn, early", sky: pink}, {id: "yes", sky: grey}]}
    pick: []
    content: [{type: text, text: "A boat, ${{ light.sky }}"}]
  departure:
    needs: harbour
    samples: 2
    content:
      - {type: text, text: It leaves}
      - {type: image_url, image_url: "${{ needs.harbour.last_frame }}", role: first_frame}
run: {poll: {first: 200ms, min: 100ms, max: 200ms}}
"""

Change = Callable[[dict[str, Any]], None]


def rehearse(root: Path, name: str, text: str) -> Path:
    """A run of the job in the embedded sandbox; gives the run's folder."""
    if not (root / ".callsheet").is_dir():
        assert callsheet("init", root, cwd=root).returncode == 0
    (root / "jobs" / name).write_text(text, encoding="utf-8")
    ran = callsheet("run", f"jobs/{name}", "--sandbox", cwd=root)
    assert ran.returncode in (0, 1), ran.stderr
    return (root / "rehearsal" / "runs" / "latest").resolve()


def rewrite(run: Path, change: Change) -> Path:
    """Changes the run's manifest and writes its page again; gives the page."""
    manifest = run / "manifest.json"
    told = json.loads(manifest.read_text(encoding="utf-8"))
    change(told)
    write_manifest(manifest, told)
    return make_report(project_of(run), run.name, patience=60).path


def write_manifest(target: Path, told: dict[str, Any]) -> None:
    """As callsheet writes it: one task a line."""
    members = [f'"{key}": {json.dumps(value)}' for key, value in told.items() if key != "tasks"]
    tasks = ",\n".join(json.dumps(task) for task in told["tasks"])
    target.write_text(
        "{\n" + ",\n".join(members[:3]) + f',\n"tasks": [\n{tasks}\n],\n' + ",\n".join(members[3:]) + "\n}\n",
        encoding="utf-8",
    )


def project_of(run: Path) -> Project:
    return find_project(run).rehearsal()


def multiply(run: Path, count: int, *, seeds: int = 4) -> Path:
    """A run of `count` tasks, made of the done ones of another; gives its folder."""
    told = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    base = run.parent.parent
    done = [task for task in told["tasks"] if task["state"] == "done"]
    tasks = []
    for number in range(count):
        task = json.loads(json.dumps(done[number % len(done)]))
        shot, seed = divmod(number, seeds)
        name = f"shot-{shot:03}-s{seed + 1}"
        task |= {
            "index": number,
            "identity": f"{number:064x}",
            "name": name,
            "seed": seed + 1,
            "cell": {"model": task["model"], "seed": seed + 1, "shot": f"shot {shot:03}"},
        }
        [video] = [row for row in task["outputs"] if row["kind"] == "video"]
        copy = base / "many" / f"{name}.mp4"
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            os.link(base / video["path"], copy)
        video |= {"path": f"many/{name}.mp4"}
        if number % 10 == 9:
            task |= {"state": "failed", "outputs": [], "error": {"code": "internal_error", "message": "no"}}
        tasks.append(task)
    told["tasks"] = tasks
    told["run"]["id"] = f"{run.name}-{count}"
    told["counts"]["total"] = count
    large = run.with_name(told["run"]["id"])
    large.mkdir(exist_ok=True)
    (large / "job.yaml").write_bytes((run / "job.yaml").read_bytes())
    write_manifest(large / "manifest.json", told)
    return large
