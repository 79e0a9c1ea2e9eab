"""Edits from the command line: what a person is shown and asked, and where a take is found afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import SandboxServer
from tests.support.terminal import on_terminal
from tests.support.verb_bench import JOB, VerbBench

EDITED = JOB.replace("A paper boat", "A tin boat")
PRICED = "price: {usd_per_task: 0.25}\n"
HANDS_FREE = "budget: {confirm_usd: 0.10}\n"


@pytest.fixture
def edited(verbs: VerbBench) -> VerbBench:
    """Both takes of the first prompt are there, and the job file has another one."""
    verbs.write(JOB + PRICED)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    verbs.write(EDITED + PRICED)
    return verbs


def names(verbs: VerbBench) -> list[str]:
    return sorted(path.name for path in (verbs.root / "rehearsal/out").iterdir())


def test_plan_shows_edits_and_sends_nothing(edited: VerbBench, server: SandboxServer) -> None:
    assert edited.call("plan", "boat.yaml") == ExitCode.DONE
    assert "edit  s1" in edited.out
    assert "content[0].text: paper -> tin" in edited.out
    assert "2 tasks: 2 edit" in edited.out
    assert "--accept-edits agrees" in edited.err
    assert edited.call("plan", "boat.yaml", "--output-format", "json") == ExitCode.DONE
    document = json.loads(edited.out)
    assert document["counts"] == {"edit": 2}
    assert server.accepted == 2


@pytest.mark.fault(82)
@pytest.mark.parametrize("more", [(), ("--yes",)])
def test_without_a_terminal_edits_are_left(
    more: tuple[str, ...], edited: VerbBench, server: SandboxServer
) -> None:
    """`--yes` answers for the cost alone."""
    edited.write(EDITED.replace("1..2", "1..3") + PRICED + HANDS_FREE * bool(more))
    assert edited.call("run", "boat.yaml", *more) == ExitCode.REFUSED
    assert (server.accepted, names(edited)) == (3, ["s1.mp4", "s2.mp4", "s3.mp4"])
    assert "edit: s1, s2: content[0].text: paper -> tin" in edited.err
    assert "2 edits (s1, s2) for about USD 0.50 not submitted" in edited.err
    assert "next: callsheet run boat.yaml --accept-edits" in edited.err


def test_accepted_edits_keep_the_older_takes(edited: VerbBench, server: SandboxServer) -> None:
    first = (edited.root / "rehearsal/out/s1.mp4").read_bytes()
    assert edited.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE
    assert names(edited) == ["s1.mp4", "s1.v1.mp4", "s2.mp4", "s2.v1.mp4"]
    assert (edited.root / "rehearsal/out/s1.v1.mp4").read_bytes() == first
    edited.write(JOB + PRICED)
    assert edited.call("plan", "boat.yaml") == ExitCode.DONE
    assert "its take is kept at out/s1.v1.mp4, and `run` puts it back" in edited.out
    assert edited.call("run", "boat.yaml") == ExitCode.DONE
    assert "nothing was submitted" in edited.out
    assert (server.accepted, (edited.root / "rehearsal/out/s1.mp4").read_bytes()) == (4, first)


def test_edits_count_for_the_budget_only_where_they_are_submitted(
    edited: VerbBench, server: SandboxServer
) -> None:
    edited.write(EDITED + PRICED + HANDS_FREE)
    assert edited.call("run", "boat.yaml", "--accept-edits") == ExitCode.REFUSED
    assert "2 new tasks for about USD 0.50" in edited.err
    assert edited.call("run", "boat.yaml") == ExitCode.REFUSED
    assert "budget.confirm_usd" not in edited.err
    assert server.accepted == 2


def test_the_older_run_is_found_by_its_bytes(edited: VerbBench) -> None:
    first = edited.manifest()["run"]["id"]
    assert edited.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE
    assert edited.call("verify", first, "--output-format", "json") == ExitCode.DONE
    rows = {row["path"]: row for row in json.loads(edited.out)["files"]}
    assert (rows["out/s1.mp4"]["finding"], rows["out/s1.mp4"]["why"]) == ("same", "kept at out/s1.v1.mp4")
    assert edited.call("report", first) == ExitCode.DONE
    page = (edited.root / "rehearsal/runs" / first / "report.html").read_text()
    assert '"href":"../../out/s1.v1.mp4"' in page
    assert '"href":"../../out/s1.mp4"' not in page
    for file in (edited.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    assert edited.call("verify", str(Path("rehearsal/runs") / first)) == ExitCode.DONE
    (edited.root / "rehearsal/out/s1.v1.mp4").unlink()
    assert edited.call("verify", str(Path("rehearsal/runs") / first)) == ExitCode.TASK_FAILED


def test_a_take_that_is_nowhere_is_not_played_as_another(edited: VerbBench) -> None:
    first = edited.manifest()["run"]["id"]
    assert edited.call("run", "boat.yaml", "--accept-edits") == ExitCode.DONE
    (edited.root / "rehearsal/out/s1.v1.mp4").unlink()
    assert edited.call("report", first) == ExitCode.DONE
    page = (edited.root / "rehearsal/runs" / first / "report.html").read_text()
    assert '"path":"out/s1.mp4","href":""' in page


@pytest.mark.parametrize(("answer", "accepted"), [("y", True), ("n", False)])
def test_a_terminal_asks(answer: str, accepted: bool, tmp_path: Path) -> None:
    assert on_terminal("init", str(tmp_path / "films"), cwd=tmp_path).exit_code == ExitCode.DONE
    root = tmp_path / "films"
    (root / "boat.yaml").write_text(JOB + PRICED)
    assert on_terminal("run", "boat.yaml", "--sandbox", cwd=root).exit_code == ExitCode.DONE
    (root / "boat.yaml").write_text(EDITED + PRICED)
    screen = on_terminal(
        "run", "boat.yaml", "--sandbox", "--yes", cwd=root, answers=[answer], question=r"\[y/N\]: $"
    )
    assert "edit: s1, s2: content[0].text: paper -> tin\n" in screen.text
    assert "Submit 2 edits for about USD 0.50? Older takes stay as NAME.v1.mp4. [y/N]: " in screen.text
    assert screen.exit_code == (ExitCode.DONE if accepted else ExitCode.REFUSED)
    assert (root / "rehearsal/out/s1.v1.mp4").exists() is accepted
