"""The judge of a run is the service: what it accepted, and the very bytes that it rendered."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import av
import httpx

from runner.sandbox import SANDBOX_KEY
from tests.support.process_bench import ProcessBench


@dataclass(frozen=True, slots=True)
class Findings:
    """`accepted` POSTs; `double` of them were for a task that had one; `verified` files are right."""

    accepted: int
    double: int
    verified: int
    wrong: tuple[str, ...]


def judge(film: ProcessBench) -> Findings:
    """Holds the newest manifest and the files of `film` against what its service has.

    A file is right where it decodes and has the sha256 of what the service rendered for a request
    equal to the task's own. Samples on a model that ignores seeds send equal requests, so each
    rendering serves for one task only.
    """
    renders: dict[str, list[str]] = {}
    with httpx.Client(headers={"Authorization": f"Bearer {SANDBOX_KEY}"}, trust_env=False) as client:
        for task in film.server.tasks():
            video = _video_url(client, f"{film.server.url}/v1/video/generations/{task.id}")
            sha256 = hashlib.sha256(httpx.get(video, trust_env=False).content).hexdigest()
            renders.setdefault(_key(task.request), []).append(sha256)
    tasks = film.manifest()["tasks"]
    wanted = Counter(_key(task["request"]) for task in tasks)
    double = sum(max(0, len(made) - wanted[key]) for key, made in renders.items())
    wrong: list[str] = []
    for task in tasks:
        made = renders.get(_key(task["request"]), [])
        videos = [file for file in task["outputs"] if file["path"].endswith(".mp4")]
        sha256 = _decoded_sha256(film, videos[0]["path"]) if len(videos) == 1 else "no video"
        if sha256 in made:
            made.remove(sha256)
        else:
            wrong.append(f"{task['name']} ({task['state']}): {sha256}")
    return Findings(film.server.accepted, double, len(tasks) - len(wrong), tuple(wrong))


def _key(request: dict[str, Any]) -> str:
    """A request without the tag, which alone differs between two POSTs of one task."""
    return json.dumps(
        {name: value for name, value in request.items() if name != "execution_expires_after"}, sort_keys=True
    )


def _video_url(client: httpx.Client, url: str) -> str:
    answer = client.get(url).raise_for_status().json()
    content = answer["content"]
    return str(content["video_url"])


def _decoded_sha256(film: ProcessBench, path: str) -> str:
    file = film.base / path
    try:
        with av.open(str(file)) as box:
            frames = sum(1 for _ in box.decode(video=0))
        return hashlib.sha256(file.read_bytes()).hexdigest() if frames else "no frames"
    except (OSError, av.FFmpegError) as error:
        return f"cannot be read: {error}"
