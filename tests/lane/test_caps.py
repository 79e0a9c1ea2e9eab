"""One cap for one job: a rename, a copy, a date or a retry starts no new one, a new edition does."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.ledger.states import Reason
from runner.run.prepare import Resubmit
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text

pytestmark = [pytest.mark.anyio, pytest.mark.fault(69)]

TASKS = "budget: {max_tasks: 2}"
DOLLARS = "price: {usd_per_task: 0.004}\nbudget: {max_usd: 0.009}"


async def spend_the_cap(
    bench: RunBench, server: SandboxServer, more: str, name: str = "jobs/test.yaml"
) -> Path:
    file = bench.write_job(job_text(seeds=4, more=more), name)
    assert (await bench.run(file)).exit_code is ExitCode.REFUSED
    assert server.accepted == 2
    return file


@pytest.mark.parametrize("more", [TASKS, DOLLARS])
async def test_a_renamed_job_file_has_the_cap_that_it_had(
    bench: RunBench, server: SandboxServer, more: str
) -> None:
    file = await spend_the_cap(bench, server, more)
    renamed = file.rename(file.with_name("renamed.yaml"))
    assert (await bench.run(renamed)).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


@pytest.mark.parametrize("more", [TASKS, DOLLARS])
async def test_a_copy_with_another_name_and_more_seeds_has_it_too(
    bench: RunBench, server: SandboxServer, more: str
) -> None:
    """Some of its tasks were bought by the first file, and so all of that one's count."""
    await spend_the_cap(bench, server, more)
    copy = bench.write_job(
        job_text(seeds=9, more=f"{more}\n").replace("name: test", "name: copy"), "copy.yaml"
    )
    assert (await bench.run(copy)).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


@pytest.mark.parametrize("more", [TASKS, DOLLARS])
async def test_a_date_that_no_expression_uses_changes_nothing(
    bench: RunBench, server: SandboxServer, more: str
) -> None:
    file = await spend_the_cap(bench, server, more)
    assert (await bench.run(file, date="2031-01-01")).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


@pytest.mark.parametrize("seeds", ["2..5", "11..14"])
async def test_edited_seeds_are_the_same_job(bench: RunBench, server: SandboxServer, seeds: str) -> None:
    """By its name and edition, also where no task is shared, and in a new run."""
    file = await spend_the_cap(bench, server, TASKS)
    file.write_text(file.read_text().replace("seeds: 1..4", f"seeds: {seeds}"))
    assert (await bench.run(file, date="2031-01-01")).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


async def test_the_cap_is_the_job_s_after_a_run_that_was_finished(
    bench: RunBench, server: SandboxServer
) -> None:
    file = bench.write_job(job_text(seeds=2, more="budget: {max_tasks: 3}"))
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    file.write_text(file.read_text().replace("seeds: 1..2", "seeds: 1..4"))
    assert (await bench.run(file)).exit_code is ExitCode.REFUSED
    assert server.accepted == 3


async def test_a_retry_has_no_cap_of_its_own(bench: RunBench, server: SandboxServer) -> None:
    """Under another file name, from a run that bought nothing itself."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", times=None))
    file = bench.write_job(job_text(seeds=2, more=TASKS))
    assert (await bench.run(file)).exit_code is ExitCode.TASK_FAILED
    renamed = file.rename(file.with_name("renamed.yaml"))
    assert (await bench.run(renamed)).exit_code is ExitCode.TASK_FAILED
    assert (await bench.run(renamed, resubmit=Resubmit(Reason.RETRY))).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


async def test_two_files_of_one_name_share_it(bench: RunBench, server: SandboxServer) -> None:
    """The name of a job is its file's where it has no `name`."""
    texts = [job_text(seeds=4, more=TASKS).replace("name: test\n", "") for _ in range(2)]
    first = bench.write_job(texts[0], "night/boat.yaml")
    second = bench.write_job(texts[1].replace("seeds: 1..4", "seeds: 11..14"), "day/boat.yaml")
    assert (await bench.run(first)).exit_code is ExitCode.REFUSED
    assert (await bench.run(second)).exit_code is ExitCode.REFUSED
    assert server.accepted == 2


async def test_a_new_edition_starts_anew(bench: RunBench, server: SandboxServer) -> None:
    file = await spend_the_cap(bench, server, f"{TASKS}\nedition: one")
    file.write_text(file.read_text().replace("edition: one", "edition: two").replace("out/", "out/two/"))
    assert (await bench.run(file)).exit_code is ExitCode.REFUSED
    assert server.accepted == 4


async def test_another_job_has_a_cap_of_its_own(bench: RunBench, server: SandboxServer) -> None:
    await spend_the_cap(bench, server, TASKS)
    text = job_text(seeds=4, more=TASKS).replace("a teapot", "a kettle").replace("name: test", "name: kettle")
    assert (await bench.run(bench.write_job(text.replace("out/", "kettle/"), "b.yaml"))).exit_code is (
        ExitCode.REFUSED
    )
    assert server.accepted == 4


async def test_a_step_that_shares_its_first_tasks_counts_them(bench: RunBench, server: SandboxServer) -> None:
    """Identities of steps are known before anything is made."""
    steps = """\
version: 1
name: {name}
models: [byteplus/seedance-1-0-pro]
request: {{resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}}
run: {{poll: {{first: 20ms, min: 20ms, max: 50ms}}}}
budget: {{max_tasks: 3}}
steps:
  first:
    seeds: 1..2
    content: [{{type: text, text: Dawn}}]
    output: out/a${{{{ seed }}}}.mp4
  second:
    needs: first
    seeds: {seeds}
    content:
      - {{type: text, text: Noon}}
      - {{type: image_url, image_url: "${{{{ needs.first.last_frame }}}}", role: first_frame}}
    output: out/{name}-${{{{ needs.first.seed }}}}-${{{{ seed }}}}.mp4
"""
    assert (await bench.run(bench.write_job(steps.format(name="a", seeds=1)))).exit_code is ExitCode.REFUSED
    assert server.accepted == 3
    other = bench.write_job(steps.format(name="b", seeds=2), "other.yaml")
    assert (await bench.run(other)).exit_code is ExitCode.REFUSED
    assert server.accepted == 3
