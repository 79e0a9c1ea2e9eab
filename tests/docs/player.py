"""Plays a page from top to bottom in a project of its own, as a reader would who types what it says."""

from __future__ import annotations

import ast
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from runner import load_job, make_plan
from runner.__main__ import main
from runner.errors import JobError
from runner.job.load import LoadOptions
from runner.job.project.load_project import load_project_file
from runner.project import PROJECT_FILE
from tests.docs.fragment import put_into
from tests.docs.pages import ROOT, Block, Page

KINDS = frozenset({"sh", "yaml", "json", "toml", "python", "text", "csv", "markdown"})
REASONS = frozenset(
    {
        "installs from the network",
        "changes this machine",
        "opens a window",
        "starts at a prompt",
        "takes minutes",
        "needs your own server",
    }
)
"""Why a block may stay unexecuted."""

_BLOCK_SECONDS = 60.0
_OUTPUT_SECONDS = 15.0
_PORT = re.compile(r"\b8(?:900|78[67])\b")
"""The ports that pages write; free ones take their place, so that pages may be played side by side."""


class PageError(AssertionError):
    """A block does not do what its page says."""


@dataclass(slots=True)
class Player:
    """`project` is made by `callsheet init` and has a copy of jobs/; `environment` is the shell's."""

    page: Page
    project: Path
    environment: Mapping[str, str]
    cwd: Path = field(init=False)
    output: str = ""
    is_running_on: bool = False
    """Whether the last block has left a process in the background."""
    groups: list[int] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cwd = self.project

    def play(self) -> None:
        """Raises PageError with the block's place."""
        before: Block | None = None
        try:
            for block in self.page.blocks:
                if block.option("unexecuted") is None:
                    self._play_block(block, before)
                before = block
        finally:
            for group in self.groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def _play_block(self, block: Block, before: Block | None) -> None:
        body = _PORT.sub(self._free_port, block.body)
        match block.kind:
            case "sh":
                self._run(block, ["bash", "-eu", "-o", "pipefail", "-c", _PRELUDE + body])
            case "python" if not block.words:
                self._run(block, [sys.executable, "-c", body])
            case "yaml" | "json" | "toml" | "python" | "csv" | "markdown":
                self._write(block, body)
            case "text":
                if before is None or before.kind not in ("sh", "python"):
                    raise self._wrong(block, "output belongs directly after the block that prints it")
                self._compare(block, body)
            case kind:
                raise self._wrong(block, f"`{kind}` is none of the kinds {', '.join(sorted(KINDS))}")

    def _run(self, block: Block, command: list[str]) -> None:
        """One process group: what it leaves in the background is ended with the page."""
        state, shown = self.project.parent / "state", self.project.parent / "output"
        with shown.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.cwd,
                env={**self.environment, "PAGE_STATE": str(state)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                code = process.wait(_BLOCK_SECONDS)
            except subprocess.TimeoutExpired:
                raise self._wrong(block, f"still running after {_BLOCK_SECONDS:.0f} s") from None
        self.output = shown.read_text(encoding="utf-8", errors="replace")
        self.is_running_on = _is_alive(process.pid)
        if code != (expected := int(block.option("exit") or 0)):
            raise self._wrong(block, f"exit code {code}, the page says {expected}; output:\n{self.output}")
        if block.kind == "sh":
            place, *variables = state.read_text(encoding="utf-8").split("\0")
            self.cwd = Path(place)
            self.environment = dict(entry.split("=", 1) for entry in variables if "=" in entry)

    def _compare(self, block: Block, body: str) -> None:
        """What a process in the background prints is waited for."""
        end = time.monotonic() + (_OUTPUT_SECONDS if self.is_running_on else 0)
        pattern = _pattern(body)
        while not pattern.search(self.output):
            if time.monotonic() > end:
                raise self._wrong(block, f"this was printed:\n{self.output}")
            time.sleep(0.02)
            self.output = (self.project.parent / "output").read_text(encoding="utf-8", errors="replace")

    def _write(self, block: Block, body: str) -> None:
        """A whole file, or `into` it a fragment. A job file must be right then, or wrong (`invalid`)."""
        into, words = block.words[:1] == ("into",), [word for word in block.words if word != "invalid"]
        if len(words) not in ((2, 3) if into else (1,)):
            raise self._wrong(
                block, f"say which file: ```{block.kind} FILE, or into FILE, or into FILE KEY.KEY"
            )
        file = self.cwd / words[1 if into else 0]
        if into:
            try:
                body = put_into(
                    file.read_text(encoding="utf-8"), body, below=words[2] if len(words) == 3 else ""
                )
            except (OSError, LookupError) as error:
                raise self._wrong(block, str(error)) from None
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
        try:
            if file.parent.name == "jobs" and file.suffix in (".yaml", ".yml"):
                # the reader's own job: what only a trusted one may say is no mistake here
                options = LoadOptions(os.environ, trust_job=True, is_rehearsal=True)
                make_plan(load_job(file, root=self.project, options=options), origin="sandbox")
            elif file == self.project / PROJECT_FILE:
                load_project_file(self.project)
            else:
                _READERS[block.kind](body)
        except (JobError, ValueError, yaml.YAMLError) as error:
            if "invalid" not in block.words:
                raise self._wrong(block, f"{file.name} is wrong: {error}") from None
        else:
            if "invalid" in block.words:
                raise self._wrong(block, f"{file.name} is right, and the page says `invalid`")

    def _free_port(self, written: re.Match[str]) -> str:
        if written[0] not in self.ports:
            with socket.create_server(("127.0.0.1", 0)) as held:
                self.ports[written[0]] = str(held.getsockname()[1])
        return self.ports[written[0]]

    def _wrong(self, block: Block, what: str) -> PageError:
        return PageError(f"{self.page.name}:{block.line}: {what}\n\n{block.body}")


_PRELUDE = """trap 'printf "%s\\0" "$PWD" >"$PAGE_STATE"; env -0 >>"$PAGE_STATE"' EXIT\n"""
"""Where a block ends and what it has exported is where the next one begins."""

_READERS: Mapping[str, Callable[[str], object]] = {
    "yaml": yaml.safe_load,
    "json": json.loads,
    "toml": tomllib.loads,
    "python": ast.parse,
    "csv": lambda body: list(csv.reader(body.splitlines(), strict=True)),
    "markdown": str,
}


def make_project(place: Path) -> Path:
    """A project as a reader has it, with the repository's job files."""
    project = place / "my film"
    assert main(["-q", "init", str(project)]) == 0
    shutil.copytree(ROOT / "jobs", project / "jobs", dirs_exist_ok=True)
    return project


def _pattern(body: str) -> re.Pattern[str]:
    """These lines, one after the other. `...` is any text in a line, and alone any number of lines."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "..." else ".*".join(map(re.escape, line.split("..."))) + r"[ ]*\n"
        for line in body.rstrip().splitlines()
    ]
    return re.compile("^" + "".join(lines), re.MULTILINE)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
