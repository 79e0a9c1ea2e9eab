"""callsheet itself, for comparison: runs of one task each, at Mesh API's side of the sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from runner.__main__ import main
from runner.sandbox import SANDBOX_KEY
from tests.support.clients import PostingClient

_JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
content: [{{type: text, text: Teapot {number} spins}}]
output: out/teapot-{number}.mp4
run: {{poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
"""


def _create(url: str, timeout: float, directory: Path) -> str:
    """The name of the video, which a run has fetched."""
    with patch.dict(os.environ, MESHAPI_API_KEY=SANDBOX_KEY):
        assert main(["-q", "init", str(directory)]) == 0
        number = len([*directory.glob("jobs/teapot-*")])
        job = directory / "jobs" / f"teapot-{number}.yaml"
        job.write_text(_JOB.format(number=number), encoding="utf-8")
        assert main(["-q", "run", str(job), "--yes", "--base-url", url]) == 0
        (video,) = directory.rglob(f"out/teapot-{number}.mp4")
    return video.name


CLIENT = PostingClient("callsheet", "mesh", _create)
