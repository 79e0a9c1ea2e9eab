"""A project and a sandbox, with verbs as processes: the sandbox's count is the oracle for money."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.command_process import CHECKOUT, callsheet, command, environment

SWEEP = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..6
request: {resolution: 480p, ratio: 1:1, duration: 4}
content:
  - type: text
    text: A paper boat, take ${{ seed }}
output: out/boat-s${{ seed }}.mp4
run:
  settle: 100ms
  poll: {first: 100ms, min: 100ms, max: 200ms}
"""


@dataclass(frozen=True, slots=True)
class ProcessBench:
    """A project directory and the sandbox that its jobs run against."""

    root: Path
    server: SandboxServer

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path) -> Iterator[ProcessBench]:
        """A new project below `folder`; its path has a space in it, as people's paths do."""
        root = folder / "my film"
        assert callsheet("init", root, cwd=folder).returncode == 0
        shutil.rmtree(root / "jobs")
        shutil.copytree(CHECKOUT / "jobs", root / "jobs")
        with SandboxServer(SandboxConfig(latency=(0.05, 0.2), scale=0.1)) as server:
            yield cls(root, server)

    @property
    def base(self) -> Path:
        """A base URL on loopback makes every run a rehearsal."""
        return self.root / "rehearsal"

    def write(self, text: str, name: str = "job.yaml") -> Path:
        job = self.root / name
        job.write_text(text, encoding="utf-8")
        return job

    def call(self, verb: str, *arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
        """A verb against the sandbox, from a working directory that has nothing to do with it."""
        return callsheet(*self.line(verb, *arguments), cwd=Path("/"), **self._key(changes))

    def start(self, verb: str, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*self.line(verb, *arguments)),
            cwd="/",
            env=environment(**self._key({})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, verb: str, *arguments: str | Path) -> list[str | Path]:
        return [verb, *arguments, "--root", self.root, "--base-url", self.server.url]

    def manifest(self) -> dict[str, Any]:
        text = (self.base / "runs" / "latest" / "manifest.json").read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        return manifest

    def most_paid(self) -> int:
        """How often the most expensive task was accepted; 1 is right, more is paid twice."""
        bodies = Counter(
            json.dumps({**task.request, "execution_expires_after": None}, sort_keys=True)
            for task in self.server.tasks()
        )
        return max(bodies.values(), default=0)

    @staticmethod
    def _key(changes: dict[str, str]) -> dict[str, str]:
        keys = ("MESHAPI_API_KEY", "GETIMG_API_KEY", "ARK_API_KEY", "FAL_KEY")
        return {**dict.fromkeys(keys, SANDBOX_KEY), **changes}
