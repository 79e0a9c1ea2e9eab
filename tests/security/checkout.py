"""A checkout from a stranger, and a service that may turn on us."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.sandbox import SANDBOX_KEY, SandboxServer

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


@dataclass(frozen=True, slots=True)
class Told:
    """How a verb ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Checkout:
    """A project root at `root`; `outside` lies beside it, and nothing may be read or written there."""

    root: Path
    outside: Path
    server: SandboxServer
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    key: str = SANDBOX_KEY
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        return self.root / "rehearsal"

    def write(self, text: str, name: str = "job.yaml") -> Path:
        file = self.root / name
        file.write_text(text, encoding="utf-8")
        return file

    def call(self, *arguments: str | Path) -> Told:
        """The command in the root, with the key and the sandbox's URL set."""
        own = {"MESHAPI_API_KEY": self.key, "MESHAPI_BASE_URL": self.server.url}
        with self.monkeypatch.context() as patch:
            patch.chdir(self.root)
            for name, value in {**own, **self.variables}.items():
                patch.setenv(name, value)
            self.capsys.readouterr()
            code = main([str(argument) for argument in arguments])
        told = self.capsys.readouterr()
        return Told(code, told.out, told.err)

    def run(self, text: str = JOB, *options: str) -> Told:
        return self.call("run", self.write(text), *options)
