"""The command as a process: its exit codes, its streams, and how soon it starts."""

from __future__ import annotations

import errno
import importlib.abc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runner.__main__ as entry
from runner import __version__
from runner.cli import main as verbs
from runner.errors import BusyError, ExitCode, JobError, Problem, StateError
from tests.support.command_process import callsheet, command, environment

HEAVY = {"rich", "httpx", "av", "jsonschema", "jinja2", "starlette", "uvicorn", "yaml", "anyio", "PIL"}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_what_a_shell_asks_often_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import json, sys\n"
        "from runner.__main__ import main\n"
        f"code = main({arguments!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(told.stdout.splitlines()[-1])
    assert code == 0
    assert HEAVY.isdisjoint(modules)


def test_the_version_is_the_package_s(tmp_path: Path) -> None:
    told = callsheet("--version", cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, f"callsheet {__version__}\n", "")


def test_a_wrong_option_exits_2_and_says_so_on_stderr(tmp_path: Path) -> None:
    told = callsheet("run", "--frobnicate", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (ExitCode.USAGE, "")
    assert "--frobnicate" in told.stderr


def test_an_unknown_verb_suggests_the_nearest(tmp_path: Path) -> None:
    told = callsheet("pln", cwd=tmp_path)
    assert told.returncode == ExitCode.USAGE
    assert "did you mean `plan`?" in told.stderr


def test_an_option_that_is_nearly_right_is_named(tmp_path: Path) -> None:
    told = callsheet("run", "a.yaml", "--sandbx", cwd=tmp_path)
    assert told.returncode == ExitCode.USAGE
    assert "--sandbox" in told.stderr


def test_help_shows_every_verb_once_in_its_section(tmp_path: Path) -> None:
    listed = [name for names in verbs.SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(verbs.VERBS)
    told = callsheet("--help", cwd=tmp_path).stdout
    assert all(f"\n  {name} " in told for name in listed)
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("verb", sorted(set(verbs.VERBS) - {"schema", "schedule"}))
def test_each_verb_s_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([verb, "--help"]) == 0
    assert f"  callsheet {verb}" in capsys.readouterr().out.split("Examples:")[1]


def test_an_unknown_verb_like_none_lists_them(tmp_path: Path) -> None:
    told = callsheet("zzz", cwd=tmp_path)
    assert told.returncode == ExitCode.USAGE
    assert "the verbs are init, validate" in told.stderr


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BusyError("locked", hint="wait"), ExitCode.TRY_AGAIN, "locked; hint: wait\n"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "\n"),
        (
            JobError("a.yaml", [Problem(line, 1, "", "wrong") for line in range(1, 61)]),
            ExitCode.JOB_INVALID,
            "a.yaml: 10 more problems not shown\n",
        ),
    ],
)
def test_each_error_becomes_its_exit_code(
    error: BaseException,
    code: ExitCode,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _fail_with(error, monkeypatch)
    assert entry.main(["init"]) == code
    assert capsys.readouterr().err.endswith(told)


def test_what_nobody_expected_is_a_bug_with_a_short_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(ZeroDivisionError("rsk_canary"), monkeypatch)
    assert entry.main(["init"]) == ExitCode.BUG
    report = capsys.readouterr().err
    assert "ZeroDivisionError" in report
    assert "canary" not in report


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _fail_with(OSError(errno.ENOSPC, "No space left on device", "/film/runs"), monkeypatch)
    assert entry.main(["init"]) == ExitCode.CANNOT_WRITE
    assert capsys.readouterr().err.startswith("/film/runs: cannot write: No space left on device")


def test_any_other_trouble_of_the_system_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_with(OSError(errno.EBADF, "Bad file descriptor"), monkeypatch)
    assert entry.main(["init"]) == ExitCode.BUG


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_result_that_cannot_be_written_exits_74(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(
            command("--help"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert told.returncode == ExitCode.CANNOT_WRITE
    assert b"No space left" in told.stderr


def test_several_errors_at_once_are_each_told_and_the_first_condition_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task group raises what its tasks raised as one group."""
    inner = ExceptionGroup("inner", [StateError("the disk is full")])
    _fail_with(ExceptionGroup("outer", [BusyError("locked"), inner]), monkeypatch)
    assert entry.main(["init"]) == ExitCode.CANNOT_WRITE
    assert capsys.readouterr().err == "locked\nthe disk is full\n"


def test_windows_is_told_that_it_is_not_supported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert entry.main(["--version"]) == ExitCode.USAGE
    assert "Windows is not supported" in capsys.readouterr().err


def test_a_ctrl_c_while_modules_are_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before, while the interpreter itself starts, no program can catch."""

    class Interrupting(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "runner.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "runner.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert entry.main(["plan"]) == ExitCode.INTERRUPTED


def test_a_reader_that_leaves_early_is_no_failed_task(tmp_path: Path) -> None:
    """`callsheet schema | head -1` must not exit 1, which says that a task failed."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        told = subprocess.run(
            command("schema"),
            cwd=tmp_path,
            stdout=write_end,
            env=environment(),
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(write_end)
    assert (told.returncode, told.stderr) == (ExitCode.READER_GONE, b"")


def _fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(verbs.LazyGroup, "get_command", fail)
