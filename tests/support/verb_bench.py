"""A project in the working directory whose service is a sandbox, for the verbs that settle things."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.__main__ import main
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
request: {resolution: 480p, ratio: 1:1, duration: 4}
content:
  - type: text
    text: A paper boat
output: out/s${{ seed }}.mp4
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


STORY = (
    JOB.split("seeds:")[0]
    + """\
request: {resolution: 480p, ratio: 1:1, duration: 4, return_last_frame: true}
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
steps:
  first:
    seeds: 7
    content: [{type: text, text: Dawn}]
  second:
    needs: first
    content:
      - {type: text, text: Noon}
      - type: image_url
        image_url: ${{ needs.first.last_frame }}
        role: first_frame
"""
)
"""Two steps: the second begins with the last frame of the first."""


@dataclass(slots=True)
class VerbBench:
    """`call` runs a verb in this process."""

    root: Path
    server: SandboxServer
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    @classmethod
    def open(
        cls,
        root: Path,
        server: SandboxServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> VerbBench:
        monkeypatch.chdir(root)
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        monkeypatch.setenv("MESHAPI_API_KEY", SANDBOX_KEY)
        assert main(["-q", "init"]) == 0
        verbs = cls(root, server, capsys)
        verbs.write(JOB)
        return verbs

    def write(self, text: str) -> None:
        (self.root / "boat.yaml").write_text(text, encoding="utf-8")

    def call(self, *arguments: str) -> int:
        """The exit code; `out` and `err` are what this verb printed."""
        self.capsys.readouterr()
        code = main(list(arguments))
        self.out, self.err = self.capsys.readouterr()
        return code

    def fault(self, kind: Kind, **shape: Any) -> None:
        """A fault of the submit."""
        self.server.faults.add(Fault(where=Where.SUBMIT, kind=kind, **shape))

    def manifest(self) -> Any:
        return json.loads((self.root / "rehearsal" / "runs" / "latest" / "manifest.json").read_text())

    def states(self) -> list[str]:
        return [task["state"] for task in self.manifest()["tasks"]]

    def reasons(self) -> list[list[str]]:
        """Of each task, who asked for each of its attempts."""
        return [[attempt["reason"] for attempt in task["attempts"]] for task in self.manifest()["tasks"]]

    def unclear(self) -> Any:
        """What `reconcile` lists for programs."""
        self.call("reconcile", "--output-format", "json")
        return json.loads(self.out)
