"""`callsheet run`, `resume`, `collect` and `status`, in this process against a real sandbox."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.command_process import command, environment
from tests.support.verb_bench import VerbBench

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
request: {resolution: 480p, duration: 4}
content:
  - type: text
    text: A paper boat
output: out/s${{ seed }}.mp4
run:
  settle: 0s
  poll: {first: 20ms, min: 20ms, max: 50ms}
"""


@pytest.fixture
def project(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is the project; the environment points at the sandbox."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
    monkeypatch.setenv("MESHAPI_API_KEY", SANDBOX_KEY)
    assert main(["-q", "init"]) == 0
    (tmp_path / "boat.yaml").write_text(JOB)
    return tmp_path


def test_a_run_ends_with_where_its_results_are(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "boat.yaml"]) == 0
    tasks, cost, videos, manifest, report = capsys.readouterr().out.splitlines()
    assert tasks == "2 tasks: 2 done; 2 submitted now"
    assert re.fullmatch(
        r"cost:     free, a rehearsal; for real 2 tasks of unknown price now, 2 in all, [\d.]+ s",
        cost,
    )
    assert videos == "videos:   rehearsal/out"
    assert (project / manifest.removeprefix("manifest: ")).is_file()
    assert (project / report.removeprefix("report:   ")).is_file()
    assert server.accepted == 2


def test_a_second_run_says_that_nothing_was_submitted(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "boat.yaml"])
    capsys.readouterr()
    assert main(["run", "boat.yaml"]) == 0
    assert capsys.readouterr().out.startswith("2 tasks: 2 done; nothing was submitted\n")
    assert server.accepted == 2


def test_a_failed_task_exits_1_and_is_not_bought_again(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "boat.yaml").write_text(JOB.replace("A paper boat", "'A paper boat [violate]'"))
    assert main(["run", "boat.yaml"]) == ExitCode.TASK_FAILED
    assert main(["run", "boat.yaml"]) == ExitCode.TASK_FAILED
    assert server.accepted == 2
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "content_policy_violation" in capsys.readouterr().out


def test_quiet_still_tells_what_is_not_done(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "boat.yaml").write_text(JOB.replace("A paper boat", "'A paper boat [violate]'"))
    assert main(["-q", "run", "boat.yaml"]) == ExitCode.TASK_FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "boat.yaml: not all is done: 2 failed" in captured.err


def test_status_shows_how_each_task_stands(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "boat.yaml"])
    capsys.readouterr()
    assert main(["status"]) == 0
    title, *tasks, counts = capsys.readouterr().out.splitlines()
    assert title.endswith(": finished")
    assert [line.split()[0] for line in tasks] == ["done", "done"]
    assert counts == "2 tasks: 2 done"


def test_status_for_programs_is_one_json_object(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "boat.yaml"])
    capsys.readouterr()
    assert main(["status", "latest", "--output-format", "json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["file"], status["origin"], status["is_finished"]) == ("boat.yaml", server.url, True)
    assert {task["remote_id"] for task in status["tasks"]} == {task.id for task in server.tasks()}


def test_status_takes_a_path_to_a_run_from_anywhere(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["run", "boat.yaml"])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (run,) = [path for path in (project / "rehearsal" / "runs").iterdir() if not path.is_symlink()]
    assert main(["status", str(run)]) == 0


def test_before_the_first_run_there_is_no_status(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == ExitCode.USAGE
    assert "nothing has been rehearsed here yet" in capsys.readouterr().err


def test_a_run_of_another_service_is_not_resumed_at_this_one(
    project: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tasks are not there, and the key might not be meant for it."""
    main(["run", "boat.yaml"])
    monkeypatch.setenv("MESHAPI_BASE_URL", "http://127.0.0.1:9")
    assert main(["resume"]) == ExitCode.USAGE
    assert f"--base-url {server.url}" in capsys.readouterr().err


def test_resume_runs_the_copy_that_the_run_kept(project: Path, server: SandboxServer) -> None:
    """What was planned is brought to done, whatever has been edited since."""
    main(["run", "boat.yaml"])
    (project / "boat.yaml").write_text("not a job file any more")
    assert main(["resume"]) == 0
    assert server.accepted == 2


def test_resume_without_the_kept_copy_says_what_to_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "boat.yaml"])
    (project / "rehearsal" / "runs" / "latest" / "job.yaml").unlink()
    assert main(["resume"]) == ExitCode.CANNOT_WRITE
    assert "callsheet run boat.yaml" in capsys.readouterr().err


def test_a_run_is_named_by_the_beginning_of_its_id_too(project: Path, server: SandboxServer) -> None:
    main(["run", "boat.yaml"])
    (run,) = (path.name for path in (project / "rehearsal" / "runs").glob("2*"))
    assert main(["resume", run[:-2]]) == 0
    assert main(["status", run[:8]]) == 0
    assert server.accepted == 2


def test_a_latest_run_that_is_gone_is_not_taken_for_an_older_one(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`retry` would pay for what nobody asked for."""
    main(["run", "boat.yaml"])
    main(["run", "boat.yaml", "--again", "s1"])
    latest = project / "rehearsal" / "runs" / "latest"
    latest.resolve().rename(project / "moved")
    assert main(["retry"]) == ExitCode.CANNOT_WRITE
    assert f"{latest.readlink().name}/job.yaml: cannot read" in capsys.readouterr().err
    assert server.accepted == 3


def test_collect_of_nothing_is_done(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect"]) == 0
    assert "nothing is in flight" in capsys.readouterr().out
    assert server.accepted == 0


def test_a_service_that_is_out_of_money_exits_4_with_the_reason(
    project: Path, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Fault(where=Where.SUBMIT, kind=Kind.ANSWER, times=None, status=402, code="insufficient_credits")
    server.faults.add(refusal)
    assert main(["run", "boat.yaml"]) == ExitCode.OUT_OF_MONEY
    assert capsys.readouterr().err
    assert server.accepted == 0


def test_a_wait_that_is_no_duration_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "boat.yaml", "--wait", "long"]) == ExitCode.USAGE
    assert "not a duration such as" in capsys.readouterr().err


def test_a_missing_extra_is_one_sentence_with_the_install_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "runner.sandbox.serving.hosting")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["run", "boat.yaml", "--sandbox"]) == ExitCode.USAGE
    assert "pip install" in capsys.readouterr().err


def test_a_reader_that_leaves_does_not_end_a_run(project: Path, server: SandboxServer) -> None:
    """`callsheet run JOB 2>&1 | head -1`: what is paid for is fetched, and the exit code is the run's."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        ended = subprocess.run(
            command("run", "boat.yaml"), env=environment(), stdout=write_end, stderr=write_end, timeout=60
        )
    finally:
        os.close(write_end)
    assert ended.returncode == 0
    assert len(list((project / "rehearsal" / "out").glob("*.mp4"))) == server.accepted == 2


def test_what_was_accepted_without_an_answer_is_submitted_all_the_same(
    verbs: VerbBench, server: SandboxServer
) -> None:
    verbs.fault(Kind.CUT, accept=True, times=None)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 2
    assert "2 submitted now" in verbs.out + verbs.err


def test_what_never_arrived_and_went_again_is_submitted_once(verbs: VerbBench, server: SandboxServer) -> None:
    verbs.fault(Kind.CUT)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 2
    assert "2 submitted now" in verbs.out + verbs.err


def test_a_run_without_its_manifest_is_not_finished(verbs: VerbBench, server: SandboxServer) -> None:
    """The next start goes on with it, and writes it."""
    blocked = verbs.root / "blocked.yaml"
    text = (verbs.root / "boat.yaml").read_text()
    blocked.write_text(text.replace("out/", "elsewhere/").replace("A paper boat", "A ship"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    latest = verbs.root / "rehearsal" / "runs" / "latest"
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert verbs.call("run", "blocked.yaml") == ExitCode.OUT_OF_MONEY
    run = latest.resolve()
    (run / "manifest.json").unlink()
    (run / "manifest.json").mkdir()
    assert verbs.call("run", "blocked.yaml", "boat.yaml", "--output-format", "jsonl") == ExitCode.CANNOT_WRITE
    first, second = (json.loads(line) for line in verbs.out.splitlines())
    assert (first["exit_code"], second["exit_code"]) == (ExitCode.CANNOT_WRITE, 0)
    (run / "manifest.json").rmdir()
    assert verbs.call("run", "blocked.yaml") == ExitCode.DONE
    assert latest.resolve() == run
    assert [s["exit_code"] for s in json.loads((run / "manifest.json").read_text())["run"]["sessions"]][
        1
    ] == 74
    assert server.accepted == 4
