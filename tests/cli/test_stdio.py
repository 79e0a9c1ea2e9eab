"""What the process is started with: streams that are closed, full, or of another encoding."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.support.command_process import callsheet, command, environment
from tests.support.evidence import evidence_but

JOB = """\
version: 1
name: Grüße 雨 😀
models: [byteplus/seedance-1-0-pro]
seeds: 1
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: "Ein Boot, 雨, 😀"}]
output: out/雨-s${{ seed }}.mp4
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
"""

ALL_CLOSED = "<&- >&- 2>&-"
CLOSED = pytest.mark.parametrize(
    "redirect", evidence_but(ALL_CLOSED.__eq__, ["<&-", ">&-", "2>&-", ">&- 2>&-", ALL_CLOSED])
)
ENCODINGS = pytest.mark.parametrize(
    "changes",
    evidence_but(
        lambda changes: "LC_ALL" in changes,
        [
            {"PYTHONIOENCODING": "ascii"},
            {"PYTHONIOENCODING": "utf-16"},
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ],
    ),
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert callsheet("init", cwd=tmp_path).returncode == 0
    (tmp_path / "jobs" / "boat.yaml").write_text(JOB, encoding="utf-8")
    return tmp_path


def started(redirect: str, *words: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[bytes]:
    """The command by `sh`, which redirects its streams."""
    line = f'exec "$@" {redirect}'
    return subprocess.run(
        ["sh", "-c", line, "sh", *command(*words)],
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )


def videos(root: Path) -> list[str]:
    return sorted(file.name for file in (root / "rehearsal" / "out").iterdir() if file.suffix == ".mp4")


@pytest.mark.security(24)
@pytest.mark.parametrize(
    ("output_format", "redirect"),
    evidence_but(
        lambda given: given in {("text", ALL_CLOSED), ("text", ">/dev/full")},
        [
            *(
                ("text", redirect)
                for redirect in ("<&-", ">&-", "2>&-", ALL_CLOSED, ">/dev/full", "2>/dev/full")
            ),
            *(("json", redirect) for redirect in (">&-", ">/dev/full")),
        ],
    ),
)
def test_a_run_ends_with_its_own_exit_code_whatever_its_streams_are(
    root: Path, redirect: str, output_format: str
) -> None:
    ended = started(
        redirect, "run", "jobs/boat.yaml", "--sandbox", "--output-format", output_format, cwd=root
    )
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert videos(root) == ["雨-s1.mp4"]
    assert (b"stdout: cannot write: No space left" in ended.stderr) is (redirect == ">/dev/full")


@CLOSED
def test_a_failure_keeps_its_exit_code_where_nobody_can_hear_of_it(root: Path, redirect: str) -> None:
    assert started(redirect, "plan", "jobs/none.yaml", cwd=root).returncode == ExitCode.INPUT_MISSING
    assert started(redirect, "plan", "--none", cwd=root).returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    "words", evidence_but(["--version"].__eq__, [["plan", "jobs/boat.yaml"], ["--version"]])
)
def test_a_result_that_nobody_can_read_is_a_reader_gone(root: Path, words: list[str]) -> None:
    assert started("2>&-", *words, cwd=root).returncode == ExitCode.DONE
    assert started("2>/dev/full", *words, cwd=root).returncode == ExitCode.DONE
    assert started("<&-", *words, cwd=root).returncode == ExitCode.DONE
    for redirect in (">&-", ">&- 2>&-"):
        ended = started(redirect, *words, cwd=root)
        assert (ended.returncode, ended.stderr) == (ExitCode.READER_GONE, b"")
    assert started(">/dev/full", *words, cwd=root).returncode == ExitCode.CANNOT_WRITE


@pytest.mark.security(24)
def test_no_file_of_a_run_becomes_a_standard_stream(root: Path) -> None:
    """A file that is opened gets the lowest free number: what a library prints would go into it."""
    assert started("<&- >&- 2>&-", "run", "jobs/boat.yaml", "--sandbox", "-vv", cwd=root).returncode == 0
    [log] = (root / "rehearsal" / "runs").glob("2*/events.jsonl")
    assert all(json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines())
    assert callsheet("verify", "--sandbox", cwd=root).returncode == 0


@ENCODINGS
def test_another_encoding_changes_neither_the_work_nor_its_exit_code(
    root: Path, changes: dict[str, str]
) -> None:
    ended = started("", "run", "jobs/boat.yaml", "--sandbox", cwd=root, **changes)
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert videos(root) == ["雨-s1.mp4"]
    encoding = changes.get("PYTHONIOENCODING", "utf-8")
    for output_format in ("json", "jsonl"):
        told = started(
            "", "plan", "jobs/boat.yaml", "--sandbox", "--output-format", output_format, cwd=root, **changes
        )
        assert told.returncode == 0, told.stderr
        document = json.loads(told.stdout.decode(encoding))
        task = document["tasks"][0] if output_format == "json" else document
        assert task["output"] == "out/雨-s1.mp4"
    shown = started("", "show", task["identity"][:12], "--sandbox", cwd=root, **changes)
    assert shown.returncode == 0, shown.stderr


def test_what_an_encoding_lacks_is_told_as_an_escape(root: Path) -> None:
    told = started("", "plan", "jobs/boat.yaml", "--sandbox", cwd=root, PYTHONIOENCODING="latin-1")
    assert rb"out/\u96e8-s1.mp4" in told.stdout


def test_a_name_that_is_no_text_is_told_too(root: Path) -> None:
    name = os.fsdecode(b"no-\xff.yaml")
    told = started("", "plan", name, cwd=root)
    assert told.returncode == ExitCode.INPUT_MISSING
    assert rb"no-\udcff.yaml" in told.stderr
