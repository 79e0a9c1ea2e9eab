"""Where each task stands, read from a real ledger and a real directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, OutputRow, RunRow
from runner.ledger.states import Reason, TaskState
from runner.media.video import MediaFacts
from runner.plan.task import Task, task_identity
from runner.project import Project, init_project
from runner.providers.base import RemoteFileKind
from runner.providers.mesh import MESH
from runner.run.task.progress import Progress, progress_of

EVIDENCE = Evidence(row=0, headers_begun=True, reason="test")
ATTEMPT = "a" * 32


def make_task(output: str = "out/a.mp4", **request: JsonValue) -> Task:
    """A task whose identity follows from its request, as in a plan."""
    wire: dict[str, JsonValue] = {"model": "m", "content": [{"type": "text", "text": "A boat"}], **request}
    origin = "https://api.example"
    identity = task_identity(provider=MESH, origin=origin, request=wire, sample=None, edition="")
    return Task(
        identity=identity,
        index=0,
        step="",
        name="boat",
        cell={"seed": 1},
        provider="mesh",
        account="mesh",
        origin=origin,
        edition="",
        model="m",
        seed=1,
        sample=None,
        request=wire,
        inputs=(),
        output=output,
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path)


@pytest.fixture
def ledger(project: Project) -> Iterator[Ledger]:
    ledger = Ledger.open(project.ledger_path)
    with ledger.transaction():
        ledger.begin_run(RunRow("r1", "a.yaml", "a", "0" * 64, "", "2026-05-31+00:00", "mesh", "o", 1.0))
    yield ledger
    ledger.close()


def _intend(ledger: Ledger, task: Task, attempt: str = ATTEMPT) -> None:
    intent = Intent(attempt, Reason.RUN, "mesh", "k", None, "b" * 64, 1.0)
    ledger.intend(task, "a.yaml", "r1", intent, Caps(), 1.0)


def _finish(ledger: Ledger, task: Task) -> None:
    ledger.accept(ATTEMPT, "t-1", EVIDENCE, 2.0)
    ledger.collect(ATTEMPT, 3.0)
    file = OutputRow(
        task.output,
        task.identity,
        ATTEMPT,
        RemoteFileKind.VIDEO,
        1,
        4,
        "c" * 64,
        MediaFacts("mp4"),
        time.time() + 60,
    )
    ledger.finish(ATTEMPT, [file], 4.0)


def _one(task: Task, project: Project, ledger: Ledger | None) -> Progress:
    (row,) = progress_of([task], ledger.read if ledger else None, project.base)
    return row


def _publish(project: Project, path: str) -> None:
    (project.base / path).parent.mkdir(exist_ok=True)
    (project.base / path).write_bytes(b"mp4!")


def test_before_the_first_run_every_task_is_new(project: Project) -> None:
    progress = _one(make_task(), project, None)
    assert (progress.state, progress.why) == (TaskState.PLANNED, "never submitted")
    assert not project.ledger_path.exists()


def test_a_task_that_no_ledger_row_knows_is_new(project: Project, ledger: Ledger) -> None:
    progress = _one(make_task(), project, ledger)
    assert (progress.state, progress.why, progress.conflict) == (TaskState.PLANNED, "never submitted", "")


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda ledger: None, TaskState.INTENDED),
        (lambda ledger: ledger.leave_unclear(ATTEMPT, EVIDENCE, 2.0), TaskState.AMBIGUOUS),
        (lambda ledger: ledger.leave_unclear(ATTEMPT, EVIDENCE, 2.0, hold=True), TaskState.HELD),
        (lambda ledger: ledger.accept(ATTEMPT, "t-1", EVIDENCE, 2.0), TaskState.SUBMITTED),
        (lambda ledger: ledger.reject(ATTEMPT, EVIDENCE, 2.0), TaskState.FAILED),
        (lambda ledger: ledger.withdraw(ATTEMPT, Verdict.NOT_SENT, EVIDENCE, 2.0), TaskState.PLANNED),
    ],
)
def test_an_attempt_s_state_decides(
    act: Callable[[Ledger], None], state: TaskState, project: Project, ledger: Ledger
) -> None:
    """Only an attempt that is proved not accepted leaves a task to be submitted."""
    task = make_task()
    with ledger.transaction():
        _intend(ledger, task)
        act(ledger)
    assert _one(task, project, ledger).state is state


def test_a_done_task_whose_file_is_here_is_done(project: Project, ledger: Ledger) -> None:
    task = make_task()
    with ledger.transaction():
        _intend(ledger, task)
        _finish(ledger, task)
    _publish(project, task.output)
    progress = _one(task, project, ledger)
    assert (progress.state, progress.elsewhere) == (TaskState.DONE, ())


def test_a_done_task_under_a_new_name_knows_where_its_file_is(project: Project, ledger: Ledger) -> None:
    """It is linked or copied there, never bought again."""
    task = make_task()
    with ledger.transaction():
        _intend(ledger, task)
        _finish(ledger, task)
    _publish(project, task.output)
    progress = _one(replace(task, output="out/other.mp4"), project, ledger)
    assert progress.state is TaskState.DONE
    assert [row.path for row in progress.elsewhere] == ["out/a.mp4"]


@pytest.mark.parametrize("content", [None, b"shorter than it was"])
def test_a_done_task_whose_file_is_gone_or_changed_is_absent_and_not_new(
    content: bytes | None, project: Project, ledger: Ledger
) -> None:
    task = make_task()
    with ledger.transaction():
        _intend(ledger, task)
        _finish(ledger, task)
    _publish(project, task.output)
    if content is None:
        (project.base / task.output).unlink()
    else:
        (project.base / task.output).write_bytes(content)
    progress = _one(task, project, ledger)
    assert progress.state is TaskState.ABSENT
    assert task.output in progress.why


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"duration": 5}, "request.duration is 5, was 4"),
        ({"duration": 4, "ratio": "1:1"}, "request.ratio is 1:1, was not set"),
        (
            {"duration": 4, "content": [{"type": "text", "text": "A ship"}]},
            'content[0].text is "A ship", was "A boat"',
        ),
    ],
)
def test_a_new_task_says_what_has_changed_since_the_last_one_of_that_path(
    changed: dict[str, JsonValue], told: str, project: Project, ledger: Ledger
) -> None:
    with ledger.transaction():
        _intend(ledger, make_task(duration=4))
        ledger.reject(ATTEMPT, EVIDENCE, 2.0)
    progress = _one(make_task(**changed), project, ledger)
    assert (progress.state, progress.why) == (TaskState.PLANNED, told)


def test_a_new_edition_says_so(project: Project, ledger: Ledger) -> None:
    with ledger.transaction():
        _intend(ledger, make_task())
        ledger.reject(ATTEMPT, EVIDENCE, 2.0)
    tomorrow = replace(make_task(), edition="2026-06-01", identity="f" * 64)
    assert _one(tomorrow, project, ledger).why == "edition is 2026-06-01, was none"


def test_a_new_task_where_another_s_video_stands_is_an_edit(project: Project, ledger: Ledger) -> None:
    task = make_task(duration=4)
    with ledger.transaction():
        _intend(ledger, task)
        _finish(ledger, task)
    _publish(project, task.output)
    found = _one(make_task(duration=5), project, ledger)
    assert found.edit is not None
    assert (found.edit.change, found.conflict) == ("request.duration is 5, was 4", "")


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_is_no_plain_file_cannot_be_kept(kind: str, project: Project, ledger: Ledger) -> None:
    task = make_task(duration=4)
    with ledger.transaction():
        _intend(ledger, task)
        _finish(ledger, task)
    path = project.base / task.output
    path.parent.mkdir()
    path.mkdir() if kind == "directory" else path.symlink_to("elsewhere.mp4")
    assert "exists already" in _one(make_task(duration=5), project, ledger).conflict


def test_a_path_whose_video_was_moved_away_is_free(project: Project, ledger: Ledger) -> None:
    with ledger.transaction():
        _intend(ledger, make_task(duration=4))
        _finish(ledger, make_task(duration=4))
    found = _one(make_task(duration=5), project, ledger)
    assert (found.state, found.edit, found.conflict) == (TaskState.PLANNED, None, "")


def test_in_a_new_edition_nobody_has_to_agree(project: Project, ledger: Ledger) -> None:
    with ledger.transaction():
        _intend(ledger, make_task())
        _finish(ledger, make_task())
    _publish(project, make_task().output)
    tomorrow = replace(make_task(), edition="2026-06-01", identity="f" * 64)
    found = _one(tomorrow, project, ledger)
    assert (found.state, found.edit, found.conflict) == (TaskState.PLANNED, None, "")


def test_who_agreed_once_is_not_asked_again(project: Project, ledger: Ledger) -> None:
    with ledger.transaction():
        _intend(ledger, make_task(duration=4))
        _finish(ledger, make_task(duration=4))
    _publish(project, "out/a.mp4")
    edited = make_task(duration=5)
    assert _one(edited, project, ledger).edit is not None
    with ledger.transaction():
        _intend(ledger, edited, "b" * 32)
        ledger.withdraw("b" * 32, Verdict.REJECTED, EVIDENCE, 6.0)
    assert _one(edited, project, ledger).edit is None


def test_a_path_that_holds_a_file_of_somebody_is_a_conflict(project: Project) -> None:
    _publish(project, "out/a.mp4")
    assert "exists already" in _one(make_task(), project, None).conflict


def test_where_a_task_in_flight_will_put_its_video_another_one_is_an_edit(
    project: Project, ledger: Ledger
) -> None:
    with ledger.transaction():
        _intend(ledger, make_task(duration=4))
        ledger.accept(ATTEMPT, "t-1", EVIDENCE, 2.0)
    assert _one(make_task(duration=5), project, ledger).edit is not None


def test_a_plan_of_more_tasks_than_one_query_asks_for_keeps_its_order(
    project: Project, ledger: Ledger
) -> None:
    tasks = [make_task(seed=number) for number in range(450)]
    assert [row.task for row in progress_of(tasks, ledger.read, project.base)] == tasks
