"""A run goes by the files as it read them: what is resumed, collected, shown and verified after an edit."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind, SandboxServer
from tests.support.verb_bench import VerbBench

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
matrix: {shot: {from: shots.csv}}
request: {resolution: 480p, ratio: 1:1, duration: 4}
content:
  - {type: text, text: "${{ shot.prompt }}"}
  - {type: text, text: {from: "style/${{ shot.style }}.md"}}
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
SHOTS = "id,prompt,style\nboat,A boat,dark\ngull,A gull,dark\nbuoy,A buoy,dark\n"


@pytest.fixture
def table(verbs: VerbBench) -> Path:
    verbs.write(JOB)
    (verbs.root / "style").mkdir()
    (verbs.root / "style" / "dark.md").write_text("Dark water, 35mm\n")
    table = verbs.root / "shots.csv"
    table.write_text(SHOTS)
    return table


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Sets the clock of `run` on by some seconds."""

    def set_on() -> None:
        clock = SimpleNamespace(time=lambda: time.time() + 5, monotonic=time.monotonic)
        monkeypatch.setattr("runner.cli.verbs.run.time", clock)

    return set_on


def prompts(verbs: VerbBench) -> list[tuple[str, str]]:
    tasks = [task for task in verbs.manifest()["tasks"] if task["in_plan"]]
    return [(task["state"], " ".join(item["text"] for item in task["request"]["content"])) for task in tasks]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_resumed_run_goes_on_with_the_rows_and_texts_that_it_began_with(
    verbs: VerbBench, server: SandboxServer, table: Path
) -> None:
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits", after=1)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    table.write_text("id,prompt,style\nboat,A tin boat,bright\n")
    (verbs.root / "style" / "dark.md").write_text("Bright water\n")
    assert verbs.call("status") == ExitCode.DONE
    assert "buoy" in verbs.out
    assert verbs.call("resume") == ExitCode.DONE, verbs.err
    assert server.accepted == 3
    assert prompts(verbs) == [
        ("done", "A boat Dark water, 35mm"),
        ("done", "A gull Dark water, 35mm"),
        ("done", "A buoy Dark water, 35mm"),
    ]
    first, second = (session["files"] for session in verbs.manifest()["run"]["sessions"])
    assert first == second == {"shots.csv": sha256(SHOTS), "style/dark.md": sha256("Dark water, 35mm\n")}
    assert verbs.call("verify") == ExitCode.DONE, verbs.err


def test_a_manifest_that_is_written_again_keeps_to_the_rows_of_the_run(
    verbs: VerbBench, server: SandboxServer, table: Path
) -> None:
    verbs.fault(Kind.OUTCOME, text="running")
    assert verbs.call("run", "boat.yaml", "--deadline", "2s") == ExitCode.TRY_AGAIN
    before = prompts(verbs)
    table.unlink()
    verbs.call("collect", "--deadline", "1s")
    assert [prompt for _, prompt in prompts(verbs)] == [prompt for _, prompt in before]
    assert server.accepted == 3


def test_an_edited_row_pays_for_that_row_alone(verbs: VerbBench, server: SandboxServer, table: Path) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    table.write_text(SHOTS.replace("gull,A gull", "gull-2,A white gull"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 4
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 4


def test_show_says_that_a_row_was_edited_since(verbs: VerbBench, table: Path) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE

    def since() -> str:
        assert verbs.call("show", "boat", "--output-format", "json") == ExitCode.DONE
        [document] = json.loads(verbs.out)
        return str(document["runs"][0]["job_file_since"])

    assert since() == "same"
    table.write_text(SHOTS.replace("A buoy", "A bell"))
    assert since() == "changed"
    table.unlink()
    assert since() == "changed"


def test_verify_finds_a_copy_of_a_table_that_is_not_as_it_was(verbs: VerbBench, table: Path) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    copy = verbs.root / "rehearsal" / "runs" / "latest" / "jobs" / "files" / sha256(table.read_text())
    copy.write_text(SHOTS.replace("A boat", "A ship"))
    assert verbs.call("verify") != ExitCode.DONE
    assert verbs.call("resume") == ExitCode.CANNOT_WRITE
    assert "is not as it was" in verbs.err


TIMED = """\
version: 1
models: [byteplus/seedance-1-0-pro]
edition: ${{ run.time }}
seeds: 1..3
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A boat}]
output: out/${{ run.time | date("%Y%m%d-%H%M%S") }}/${{ seed }}.mp4
run: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


def test_the_time_of_a_run_stays_until_it_is_done(
    verbs: VerbBench, server: SandboxServer, later: Callable[[], None]
) -> None:
    """Else whoever runs again after a failure pays for all of it again."""
    verbs.write(TIMED)
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits", after=1)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    begun = verbs.manifest()["run"]
    later()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 3
    assert verbs.manifest()["run"]["id"] == begun["id"]
    assert len({task["outputs"][0]["path"].split("/")[1] for task in verbs.manifest()["tasks"]}) == 1
    assert verbs.manifest()["run"]["edition"] == begun["edition"]
    assert verbs.call("resume") == verbs.call("verify") == ExitCode.DONE
    assert server.accepted == 3
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 6, "a new run is a new edition"


def test_a_time_in_the_output_alone_buys_nothing_twice(
    verbs: VerbBench, server: SandboxServer, later: Callable[[], None]
) -> None:
    verbs.write(TIMED.replace("edition: ${{ run.time }}\n", ""))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    later()
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert server.accepted == 3


@pytest.mark.parametrize(
    ("where", "hurt"),
    [
        ("content: [{type: text, text: 'A boat at ${{ run.time }}'}]", "content[0].text"),
        ("content: [{type: text, text: {from: 'style/${{ seed }}.md'}}]", "content[0].text.from"),
        ("vars: {at: '${{ run.time }}'}\ncontent: [{type: text, text: 'A ${{ vars.at }}'}]", "vars.at"),
        (
            "matrix: {seconds: ['${{ run.time }}']}\ncontent: [{type: text, text: 'A ${{ seconds }}'}]",
            "matrix.seconds[0]",
        ),
    ],
)
def test_a_time_in_a_request_is_refused_until_somebody_says_otherwise(
    verbs: VerbBench, where: str, hurt: str
) -> None:
    (verbs.root / "style").mkdir()
    for seed in (1, 2, 3):
        (verbs.root / "style" / f"{seed}.md").write_text("At ${{ run.time }}\n")
    job = TIMED.replace("edition: ${{ run.time }}\n", "").replace(
        "content: [{type: text, text: A boat}]", where
    )
    verbs.write(job)
    assert verbs.call("run", "boat.yaml") == ExitCode.JOB_INVALID
    assert (
        f"{hurt}: `run.time` in a request makes each run's tasks new, and pays for all of them again"
        in verbs.err
    )
    verbs.write(job + "lint: {time-in-request: off}\n")
    assert verbs.call("plan", "boat.yaml") == ExitCode.DONE
    assert verbs.err.count("run.time") == 0
