"""`callsheet plan` of a job with steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
request: {return_last_frame: true}
steps:
  dawn:
    seeds: [7]
    content: [{type: text, text: The sun comes up}]
  noon:
    needs: dawn
    samples: 1
    content: [{type: image_url, image_url: "${{ needs.dawn.last_frame }}"}]
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    assert main(["-q", "init", str(tmp_path)]) == 0
    file = tmp_path / "jobs" / "day.yaml"
    file.write_text(JOB)
    return file


def test_a_plan_shows_the_step_of_a_task_and_the_task_that_it_needs(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(job), "--sandbox"]) == 0
    dawn, first, noon, second = capsys.readouterr().out.splitlines()[:4]
    assert (dawn, noon) == ("dawn, 1 task", "noon, 1 task")
    assert "dawn-s7" in first
    assert "noon-s7-t1" in second
    assert "needs=dawn-s7" in second


def test_a_plan_for_programs_names_the_upstream_task_and_what_is_taken_of_it(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(job), "--sandbox", "--output-format", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["tasks"]
    assert (first["step"], first["upstream"], second["step"]) == ("dawn", None, "noon")
    assert second["upstream"] == {
        "step": "dawn",
        "name": "dawn-s7",
        "identity": first["identity"],
        "uses": ["last_frame"],
    }


PICKED = JOB.replace("    seeds: [7]\n", "    seeds: [7]\n    pick: []\n").replace(
    "request: {",
    "run: {poll: {first: 20ms, min: 20ms, max: 50ms}}\nrequest: {resolution: 480p, duration: 4, ",
)


def test_a_plan_says_what_waits_for_a_person_to_pick(
    job: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence of `run`, for as long as nothing is picked; none before there is something to pick."""
    job.write_text(PICKED)
    told = "waiting for you: steps.dawn.pick: write `pick: [{seed: 7}]` to go on with dawn-s7"
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url)
        monkeypatch.setenv("MESHAPI_API_KEY", SANDBOX_KEY)
        assert main(["plan", str(job)]) == 0
        assert told not in capsys.readouterr().out
        assert main(["run", str(job)]) == 0
        assert told in capsys.readouterr().out.splitlines()
        assert main(["plan", str(job)]) == 0
        assert told in capsys.readouterr().out.splitlines()
        assert main(["plan", str(job), "--output-format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["waits"] == [told.removeprefix("waiting for you: ")]
        assert server.accepted == 1


def test_status_says_what_waits_and_how_to_pick(
    job: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write_text(PICKED)
    assert main(["run", str(job), "--sandbox"]) == 0
    run = capsys.readouterr()
    monkeypatch.chdir(job.parent)
    assert main(["status", "--sandbox"]) == 0
    status = capsys.readouterr()
    for told in (run, status):
        assert "write `pick: [{seed: 7}]` to go on with dawn-s7" in told.out
        assert "next: callsheet report --sandbox    writes the page to choose on" in told.err
        assert "what the real run would buy" not in told.err
