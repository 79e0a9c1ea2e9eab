"""The public Python API, as its page shows it."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
import uvicorn.server

import runner
from runner import load_job, make_plan, run_plan
from runner.errors import BusyError, ExitCode, NoProjectError, RefusedError, UsageError
from runner.job.expressions.rundate import RunDate
from runner.ledger.states import TaskState
from runner.project import init_project
from runner.run.finish import RunResult
from runner.run.lock import project_lock
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.command_process import CHECKOUT, callsheet, environment
from tests.support.ledger_story import checked
from tests.support.run_bench import job_text

PAGE = CHECKOUT / "docs" / "how-to" / "python.md"


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    init_project(tmp_path)
    file = tmp_path / "job.yaml"
    file.write_text(job_text(seeds=2, more="budget: {confirm_usd: 0.01}\nprice: {usd_per_task: 1}"))
    return file


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert callsheet("-q", "init", cwd=tmp_path).returncode == 0
    # a script without a guard: what makes the pictures must not run it again
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    *tasks, last = ran.stdout.splitlines()
    assert len(tasks) == 4
    assert last == f"0 {{{TaskState.DONE!r}: 4}}"
    assert all((tmp_path / "rehearsal" / task.split()[-1]).is_file() for task in tasks)
    assert b"data:image/webp" in (tmp_path / "rehearsal/runs/latest/report.html").read_bytes()


def test_every_name_of_the_api_is_there() -> None:
    assert all(hasattr(runner, name) for name in runner.__all__)
    assert {"load_job", "make_plan", "run_plan", "__version__"} == set(runner.__all__)


@pytest.mark.anyio
async def test_a_plan_is_brought_to_done_once(file: Path, server: SandboxServer) -> None:
    events: list[str] = []

    def observe(name: str, _fields: Mapping[str, object]) -> None:
        events.append(name)

    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    for submitted in (2, 0):
        result = await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True, observe=observe)
        assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 2})
        assert events.count("task.submitted") == submitted
        events.clear()
        assert result.manifest is not None
        assert result.manifest.with_name("report.html").is_file()
    assert server.accepted == 2


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["127.0.0.1", "LOCALHOST."])
async def test_another_spelling_of_the_same_server_buys_nothing(
    file: Path, server: SandboxServer, first: str
) -> None:
    """As on the command line: this machine's names, upper case and a slash at the end are one server."""
    job, port = load_job(file, root=file.parent), server.url.rpartition(":")[2]
    result = await run_plan(
        make_plan(job, origin=f"http://{first}:{port}"), api_key=SANDBOX_KEY, is_agreed=True
    )
    assert (result.counts, server.accepted) == ({TaskState.DONE: 2}, 2)
    manifests = {_identities(result)}
    for url in (f"http://127.0.0.1:{port}", f"HTTP://[::1]:{port}/", f"http://Localhost:{port}/"):
        result = await run_plan(make_plan(job, origin=url), api_key=SANDBOX_KEY, is_agreed=True)
        assert result.counts == {TaskState.DONE: 2}
        manifests.add(_identities(result))
    assert (len(manifests), server.accepted) == (1, 2)


@pytest.mark.anyio
@pytest.mark.parametrize("is_for_real", [True, False])
async def test_another_spelling_of_an_accounts_server_buys_nothing(
    file: Path, server: SandboxServer, is_for_real: bool
) -> None:
    """A rehearsal at another address tells the accounts' servers apart by their names."""
    own = server.url if is_for_real else "https://mesh.studio.example"
    (file.parent / "callsheet.yaml").write_text(
        f'version: 1\naccounts:\n  ours: {{provider: mesh, base_url: "{own}/"}}\n'
    )
    model = "byteplus/seedance-1-0-pro"
    file.write_text(job_text(seeds=1).replace(f"[{model}]", f"[{{id: {model}, at: ours}}]"))
    job = load_job(file, root=file.parent)
    end = "" if is_for_real else ":ours"
    for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
        plan = make_plan(job, origins={"ours": url + end})
        assert (await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True)).counts == {TaskState.DONE: 1}
    assert server.accepted == 1
    assert (file.parent / "rehearsal/runs").exists() is not is_for_real


def _identities(result: RunResult) -> tuple[str, ...]:
    assert result.manifest is not None
    return tuple(task["identity"] for task in json.loads(result.manifest.read_text())["tasks"])


@pytest.mark.anyio
async def test_a_page_that_cannot_be_made_fails_nothing(
    file: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ValueError("a defect of the page")

    monkeypatch.setattr("runner.api.make_report", break_down)
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    result = await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True)
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 2})
    assert "no contact sheet" in caplog.text


@pytest.mark.anyio
async def test_what_keeps_it_from_starting_is_raised_and_nothing_is_sent(
    file: Path, server: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    with pytest.raises(RefusedError, match="nothing was sent"):
        await run_plan(plan, api_key=SANDBOX_KEY)
    with project_lock(init_project(file.parent).rehearsal()), pytest.raises(BusyError):
        await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "job.yaml").write_text(file.read_text())
    homeless = make_plan(load_job(elsewhere / "job.yaml", root=elsewhere), origin=server.url)
    with pytest.raises(NoProjectError):
        await run_plan(homeless, api_key=SANDBOX_KEY, is_agreed=True)
    assert server.accepted == 0


@pytest.mark.anyio
async def test_a_plan_that_names_no_origin_is_refused_also_for_an_account(
    tmp_path: Path, server: SandboxServer
) -> None:
    init_project(tmp_path)
    (tmp_path / "callsheet.yaml").write_text(
        f'version: 1\naccounts:\n  ours: {{provider: mesh, base_url: "{server.url}"}}\n'
    )
    text = job_text(seeds=1).replace("models: [byteplus/seedance-1-0-pro]", "models: [MODEL]")
    (tmp_path / "job.yaml").write_text(text.replace("MODEL", "{id: byteplus/seedance-1-0-pro, at: ours}"))
    job = load_job(tmp_path / "job.yaml", root=tmp_path)
    with pytest.raises(UsageError, match="account ours"):
        await run_plan(make_plan(job), api_key=SANDBOX_KEY)
    plan = make_plan(job, origins={name: each.origin for name, each in job.accounts.items()})
    assert (await run_plan(plan, api_key=SANDBOX_KEY)).exit_code == ExitCode.DONE
    assert server.accepted == 1


@pytest.mark.anyio
async def test_an_unknown_price_needs_to_be_agreed_to(file: Path, server: SandboxServer) -> None:
    file.write_text(job_text(seeds=2, more="budget: {confirm_usd: 1000}"))
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    with pytest.raises(RefusedError, match="2 new tasks of unknown price"):
        await run_plan(plan, api_key=SANDBOX_KEY)
    assert server.accepted == 0
    assert (await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True)).exit_code is ExitCode.DONE


def test_a_plan_runs_in_any_thread(file: Path, server: SandboxServer) -> None:
    """Signals are heard by the main thread alone; a server runs a job in another one."""
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    run = functools.partial(run_plan, plan, api_key=SANDBOX_KEY, is_agreed=True)
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(anyio.run, run).result()
    assert result.exit_code is ExitCode.DONE


def test_cancelling_keeps_all_state(file: Path, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.DELAY, seconds=30, times=None))
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    run = functools.partial(run_plan, plan, api_key=SANDBOX_KEY, is_agreed=True)

    async def cancelled() -> None:
        with anyio.move_on_after(0.7) as scope:
            await run()
        assert scope.cancelled_caught

    anyio.run(cancelled)
    server.faults.clear()
    assert anyio.run(run).exit_code is ExitCode.DONE
    assert server.accepted == 2


DATED = job_text(seeds=1).replace("a teapot", "a teapot on ${{ run.date }}")


@pytest.mark.anyio
@pytest.mark.parametrize("text", [DATED, job_text(seeds=1)], ids=["reads the date", "does not"])
async def test_the_plan_that_was_inspected_runs_although_a_run_of_another_day_is_unfinished(
    text: str, file: Path, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits"))
    file.write_text(text)
    job = load_job(file, root=file.parent)
    earlier = make_plan(job, origin=server.url, run_date=RunDate.parse("2026-05-30"))
    stopped = await run_plan(earlier, api_key=SANDBOX_KEY)
    assert stopped.exit_code is ExitCode.OUT_OF_MONEY
    server.faults.clear()

    plan = make_plan(job, origin=server.url)
    result = await run_plan(plan, api_key=SANDBOX_KEY)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 1)
    assert result.manifest is not None
    manifest = checked(result.manifest)
    assert [task["identity"] for task in manifest["tasks"]] == [task.identity for task in plan.tasks]
    assert (result.run_id == stopped.run_id) is (text != DATED)
    if text == DATED:
        assert manifest["run"]["run_date"] == plan.run_date.format()


@pytest.mark.anyio
async def test_the_plan_that_was_inspected_runs_although_the_file_was_edited(
    file: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(load_job(file, root=file.parent), origin=server.url)
    asked = [task.request["content"] for task in plan.tasks]
    file.write_text(job_text(seeds=5).replace("a teapot", "a kettle"))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("planned again")

    monkeypatch.setattr("runner.run.prepare.make_plan", never)
    result = await run_plan(plan, api_key=SANDBOX_KEY, is_agreed=True)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert [task.request["content"] for task in server.tasks()] == asked
    assert result.manifest is not None
    assert result.manifest.with_name("job.yaml").read_bytes() == plan.job.text


@pytest.mark.anyio
@pytest.mark.fault(61)
@pytest.mark.parametrize("is_right_by_now", [False, True])
async def test_a_plan_that_a_wrong_clock_has_dated_is_refused(
    is_right_by_now: bool, file: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(DATED)
    job = load_job(file, root=file.parent)
    with monkeypatch.context() as wrong:
        right = time.time
        wrong.setattr(time, "time", lambda: right() + 10 * 365 * 86_400)
        # the server reads its clock once a second, for `Date`
        wrong.setattr(uvicorn.server, "time", SimpleNamespace(time=right))
        plan = make_plan(job, origin=server.url)
        if not is_right_by_now:
            result = await run_plan(plan, api_key=SANDBOX_KEY)
    if is_right_by_now:
        result = await run_plan(plan, api_key=SANDBOX_KEY)
    assert (result.exit_code, server.accepted) == (ExitCode.REFUSED, 0)
    given = make_plan(job, origin=server.url, run_date=plan.run_date)
    assert (await run_plan(given, api_key=SANDBOX_KEY)).exit_code is ExitCode.DONE


@pytest.mark.anyio
async def test_a_plan_goes_on_under_its_own_time_and_another_one_begins_a_run(
    file: Path, server: SandboxServer
) -> None:
    text = job_text(seeds=2, more="edition: ${{ run.time }}")
    file.write_text(text.replace("out/s", "out/${{ run.time }}-s"))
    job = load_job(file, root=file.parent)
    plan = make_plan(job, origin=server.url, began=1_700_000_000.25)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits"))
    first = await run_plan(plan, api_key=SANDBOX_KEY)
    assert first.exit_code is ExitCode.OUT_OF_MONEY
    again = await run_plan(plan, api_key=SANDBOX_KEY)
    assert (again.run_id, again.exit_code, server.accepted) == (first.run_id, ExitCode.DONE, 2)
    other = await run_plan(make_plan(job, origin=server.url, began=1_700_000_060.0), api_key=SANDBOX_KEY)
    assert other.run_id != first.run_id
    assert server.accepted == 4
