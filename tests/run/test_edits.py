"""Edits: a new request where another one's take stands. Nothing is lost, and nothing is bought twice."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.ledger.states import Reason, TaskState
from runner.record.manifest import read_tasks
from runner.record.verify import Checks, Finding, check, files_of
from runner.run.prepare import Resubmit
from runner.run.task.relocate import make_way
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.run_bench import RunBench, job_text
from tests.support.three_shots import three_shots

pytestmark = [pytest.mark.anyio, pytest.mark.fault(82)]

ONE = job_text(seeds=1)
SAMPLED = (
    ONE.replace("seedance-1-0-pro", "seedance-2-0")
    .replace("seeds: 1..1", "samples: 1")
    .replace("out/s${{ seed }}", "out/s${{ sample }}")
)
FRAMED = ONE.replace("duration: 4}", "duration: 4, return_last_frame: true}")


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)


def edited(text: str, to: str = "a kettle") -> str:
    return text.replace("a teapot", to)


def files(bench: RunBench) -> dict[str, bytes]:
    found = (path for path in (bench.project.base / "out").iterdir() if not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}


def takes(bench: RunBench) -> dict[str, set[str]]:
    """By prompt, the names under which the ledger knows a take, each with the bytes that it says."""
    with bench.ledger() as ledger:
        reader, found = ledger.read, dict[str, set[str]]()
        identities = [i for run in reader.unfinished_runs() for i in reader.identities_of_run(run.id)]
        rows = reader._db.execute("SELECT identity FROM tasks").fetchall()
        for identity in {*identities, *(row[0] for row in rows)}:
            task = reader.task(identity)
            assert task is not None
            prompt = task.request["content"][0]["text"]  # type: ignore[index, call-overload]
            for row in reader.outputs([identity]).get(identity, []):
                content = (bench.project.base / row.path).read_bytes()
                assert hashlib.sha256(content).hexdigest() == row.sha256, row.path
                found.setdefault(str(prompt), set()).add(row.path.removeprefix("out/"))
    return found


async def test_an_edit_waits_for_a_person_and_all_else_goes_on(
    bench: RunBench, server: SandboxServer
) -> None:
    await bench.run(bench.write_job(ONE))
    before = files(bench)
    more = edited(job_text(seeds=2))
    result = await bench.run(bench.write_job(more))
    assert result.exit_code is ExitCode.REFUSED
    assert any("1 edit (s1)" in reason and "--accept-edits" in reason for reason in result.reasons)
    assert (server.accepted, result.counts) == (2, {TaskState.PLANNED: 1, TaskState.DONE: 1})
    assert set(files(bench)) == {"s1.mp4", "s2.mp4"}
    assert files(bench)["s1.mp4"] == before["s1.mp4"]
    assert (await bench.run(bench.write_job(more))).exit_code is ExitCode.REFUSED
    last = await bench.run(bench.write_job(more), accept_edits=True)
    assert (last.exit_code, server.accepted, last.run_id) == (ExitCode.DONE, 3, result.run_id)


async def test_the_older_take_is_kept_with_its_frame(bench: RunBench, server: SandboxServer) -> None:
    first = await bench.run(bench.write_job(FRAMED))
    before = files(bench)
    result = await bench.run(bench.write_job(edited(FRAMED)), accept_edits=True)
    after = files(bench)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert set(after) == {"s1.mp4", "s1.last.png", "s1.v1.mp4", "s1.v1.last.png"}
    assert after["s1.v1.mp4"] == before["s1.mp4"] != after["s1.mp4"]
    assert after["s1.v1.last.png"] == before["s1.last.png"]
    assert takes(bench) == {
        "a teapot": {"s1.v1.mp4", "s1.v1.last.png"},
        "a kettle": {"s1.mp4", "s1.last.png"},
    }
    for run_id in (first.run_id, result.run_id):
        tasks = read_tasks(bench.project.runs_dir / str(run_id) / "manifest.json")
        checks = Checks(str(bench.project.base), decode=False)
        found = {check(checks, file).finding for task in tasks for file in files_of(task, {}, {})}
        assert found == {Finding.SAME}


async def test_a_frame_goes_with_its_video_where_the_new_take_has_none(bench: RunBench) -> None:
    await bench.run(bench.write_job(FRAMED))
    await bench.run(bench.write_job(edited(ONE)), accept_edits=True)
    assert set(files(bench)) == {"s1.mp4", "s1.v1.mp4", "s1.v1.last.png"}
    await bench.run(bench.write_job(FRAMED))
    assert {"s1.mp4", "s1.last.png", "s1.v2.mp4"} <= set(files(bench))


async def test_an_edit_that_goes_to_and_fro_buys_two(bench: RunBench, server: SandboxServer) -> None:
    await bench.run(bench.write_job(FRAMED))
    first = files(bench)
    await bench.run(bench.write_job(edited(FRAMED)), accept_edits=True)
    second = {name: files(bench)[name] for name in first}
    for text, wanted in ((FRAMED, first), (edited(FRAMED), second), (FRAMED, first)):
        for _ in range(2):
            result = await bench.run(bench.write_job(text))
            assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
            assert {name: files(bench)[name] for name in wanted} == wanted
            [task] = [task for task in bench.manifest()["tasks"] if task["in_plan"]]  # type: ignore[attr-defined]
            assert [file["path"] for file in task["outputs"]] == ["out/s1.mp4", "out/s1.last.png"]
            assert set(takes(bench)) == {"a teapot", "a kettle"}
    assert server.accepted == 2
    assert len(files(bench)) == 6


async def test_a_third_request_is_kept_too(bench: RunBench, server: SandboxServer) -> None:
    for to in ("a teapot", "a kettle", "a cup", "a jug"):
        await bench.run(bench.write_job(edited(ONE, to)), accept_edits=True)
    assert server.accepted == len(set(files(bench).values())) == 4
    assert takes(bench) == {
        "a teapot": {"s1.v1.mp4"},
        "a kettle": {"s1.v2.mp4"},
        "a cup": {"s1.v3.mp4"},
        "a jug": {"s1.mp4"},
    }


@pytest.mark.parametrize(("on_edit", "accepted"), [("version", 2), ("refuse", 1)])
async def test_a_job_says_what_becomes_of_edits(
    on_edit: str, accepted: int, bench: RunBench, server: SandboxServer
) -> None:
    text = job_text(seeds=1, run=f"on_edit: {on_edit}")
    await bench.run(bench.write_job(text))
    result = await bench.run(bench.write_job(edited(text)), accept_edits=on_edit == "refuse")
    assert server.accepted == accepted
    assert result.exit_code is (ExitCode.DONE if accepted == 2 else ExitCode.REFUSED)
    if on_edit == "refuse":
        assert any("run.on_edit is `refuse`" in reason for reason in result.reasons)


async def test_a_new_edition_asks_nobody(bench: RunBench, server: SandboxServer) -> None:
    await bench.run(bench.write_job(f"edition: monday\n{ONE}"))
    result = await bench.run(bench.write_job(edited(f"edition: tuesday\n{ONE}")))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert takes(bench) == {"a teapot": {"s1.v1.mp4"}, "a kettle": {"s1.mp4"}}


async def test_another_take_of_the_same_request_is_no_edit(bench: RunBench, server: SandboxServer) -> None:
    file = bench.write_job(SAMPLED)
    await bench.run(file)
    result = await bench.run(file, resubmit=Resubmit(Reason.AGAIN))
    assert (result.exit_code, server.accepted, set(files(bench))) == (
        ExitCode.DONE,
        2,
        {"s1.mp4", "s1-2.mp4"},
    )


async def test_all_takes_of_the_older_request_go_together(bench: RunBench) -> None:
    file = bench.write_job(SAMPLED)
    await bench.run(file)
    await bench.run(file, resubmit=Resubmit(Reason.AGAIN))
    before = files(bench)
    await bench.run(bench.write_job(edited(SAMPLED)), accept_edits=True)
    after = files(bench)
    assert (after["s1.v1.mp4"], after["s1-2.v1.mp4"]) == (before["s1.mp4"], before["s1-2.mp4"])
    assert set(after) == {"s1.mp4", "s1.v1.mp4", "s1-2.v1.mp4"}
    await bench.run(bench.write_job(SAMPLED))
    assert {name: files(bench)[name] for name in before} == before


async def test_an_edit_of_a_task_in_flight_leaves_the_path_to_the_new_one(tmp_path: Path) -> None:
    """The older take becomes a version when it comes, whichever comes first."""
    with SandboxServer(SandboxConfig(latency=(2.0, 2.0), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        await bench.run(bench.write_job(ONE), until=lambda: bench.has_seen("task.submitted"))
        asked = await bench.run(bench.write_job(edited(ONE)), deadline=0.2)
        assert (asked.exit_code, server.accepted) == (ExitCode.REFUSED, 1)
        result = await bench.run(bench.write_job(edited(ONE)), accept_edits=True)
        assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert takes(bench) == {"a teapot": {"s1.v1.mp4"}, "a kettle": {"s1.mp4"}}


async def test_an_edit_undone_while_in_flight_leaves_the_path_as_it_is(tmp_path: Path) -> None:
    with SandboxServer(SandboxConfig(latency=(1.0, 1.0), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        await bench.run(bench.write_job(ONE))
        before = files(bench)
        await bench.run(
            bench.write_job(edited(ONE)), accept_edits=True, until=lambda: bench.has_seen("task.submitted", 2)
        )
        assert (await bench.run(bench.write_job(ONE))).exit_code is ExitCode.DONE
        assert files(bench)["s1.mp4"] == before["s1.mp4"]
        assert takes(bench) == {"a teapot": {"s1.mp4"}, "a kettle": {"s1.v1.mp4"}}
        result = await bench.run(bench.write_job(edited(ONE)))
        assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert takes(bench) == {"a teapot": {"s1.v2.mp4"}, "a kettle": {"s1.mp4", "s1.v1.mp4"}}


async def test_collect_brings_an_edit_home_that_was_agreed_to(bench: RunBench) -> None:
    await bench.run(bench.write_job(ONE))
    await bench.run(
        bench.write_job(edited(ONE)), accept_edits=True, until=lambda: bench.has_seen("task.submitted", 2)
    )
    assert (await bench.collect()).exit_code is ExitCode.DONE
    assert takes(bench) == {"a teapot": {"s1.v1.mp4"}, "a kettle": {"s1.mp4"}}


@pytest.mark.parametrize("stranger", ["file", "directory", "link"])
async def test_a_name_that_is_not_free_is_passed_over(stranger: str, bench: RunBench) -> None:
    await bench.run(bench.write_job(FRAMED))
    # of the frame alone: video and frame share one number all the same
    there = bench.project.base / "out" / "s1.v1.last.png"
    if stranger == "file":
        there.write_bytes(b"mine")
    elif stranger == "directory":
        there.mkdir()
    else:
        there.symlink_to("s1.mp4")
    await bench.run(bench.write_job(edited(FRAMED)), accept_edits=True)
    assert takes(bench)["a teapot"] == {"s1.v2.mp4", "s1.v2.last.png"}
    assert not (there.parent / "s1.v1.mp4").exists()


async def test_a_version_takes_no_other_task_s_path(bench: RunBench) -> None:
    other = edited(ONE, "a cup [violate]").replace("out/s${{ seed }}.mp4", "out/s${{ seed }}.v1.mp4")
    await bench.run(bench.write_job(other, "jobs/other.yaml"))  # asked for, and nothing stands there
    await bench.run(bench.write_job(ONE))
    await bench.run(bench.write_job(edited(ONE)), accept_edits=True)
    assert takes(bench) == {"a teapot": {"s1.v2.mp4"}, "a kettle": {"s1.mp4"}}


async def test_a_disk_without_hard_links_keeps_a_copy(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr("os.link", refuse)
    await bench.run(bench.write_job(FRAMED))
    first = files(bench)
    await bench.run(bench.write_job(edited(FRAMED)), accept_edits=True)
    assert takes(bench) == {
        "a teapot": {"s1.v1.mp4", "s1.v1.last.png"},
        "a kettle": {"s1.mp4", "s1.last.png"},
    }
    assert (await bench.run(bench.write_job(FRAMED))).exit_code is ExitCode.DONE
    assert {name: files(bench)[name] for name in first} == first
    assert server.accepted == 2


async def test_two_requests_with_the_same_bytes_keep_a_name_each(bench: RunBench) -> None:
    await bench.run(bench.write_job(ONE))
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.1)) as other:
        await RunBench(root=bench.root, url=other.url, key=SANDBOX_KEY).run(bench.write_job(ONE))
    assert len(set(files(bench).values())) == 1
    assert takes(bench) == {"a teapot": {"s1.mp4", "s1.v1.mp4"}}


async def test_an_edit_that_fails_leaves_the_older_take_in_its_place(
    bench: RunBench, server: SandboxServer
) -> None:
    await bench.run(bench.write_job(FRAMED))
    before = files(bench)
    result = await bench.run(bench.write_job(edited(FRAMED, "a kettle [violate]")), accept_edits=True)
    assert (result.exit_code, files(bench)) == (ExitCode.TASK_FAILED, before)
    assert (await bench.run(bench.write_job(FRAMED))).exit_code is ExitCode.DONE
    assert (files(bench), server.accepted) == (before, 2)


async def test_a_take_whose_versions_are_gone_is_fetched_again_for_its_path(
    bench: RunBench, server: SandboxServer
) -> None:
    await bench.run(bench.write_job(ONE))
    before = files(bench)
    await bench.run(bench.write_job(edited(ONE)), accept_edits=True)
    (bench.project.base / "out" / "s1.v1.mp4").unlink()
    result = await bench.run(bench.write_job(ONE))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert files(bench)["s1.mp4"] == before["s1.mp4"]


async def test_a_foreign_file_is_never_moved(bench: RunBench, server: SandboxServer) -> None:
    """One that somebody put where the wanted take belongs, after that one had gone."""
    await bench.run(bench.write_job(ONE))
    with bench.ledger() as ledger:
        async with bench.order(ledger) as order:
            mine = bench.project.base / "out" / "mine.mp4"
            mine.write_bytes(b"mine")
            assert await make_way(order.tools, "out/mine.mp4", "out/mine.mp4", "f" * 64) is None
    assert mine.read_bytes() == b"mine"


async def test_an_edited_step_takes_along_what_needs_it(bench: RunBench, server: SandboxServer) -> None:
    await bench.run(bench.write_job(three_shots("pick: [{seed: 2}]")))
    before, bought = files(bench), server.accepted
    text = three_shots("pick: [{seed: 2}]", first="'a gate'")
    result = await bench.run(bench.write_job(text))
    assert (result.exit_code, server.accepted, files(bench)) == (ExitCode.REFUSED, bought, before)
    [reason] = [reason for reason in result.reasons if "edits" in reason]
    assert f"{bought} edits" in reason
    result = await bench.run(bench.write_job(text), accept_edits=True)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2 * bought)
    assert set(before.values()) <= set(files(bench).values())
    result = await bench.run(bench.write_job(three_shots("pick: [{seed: 2}]")))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2 * bought)
    assert {name: files(bench)[name] for name in before} == before
