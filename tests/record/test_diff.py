"""What tells a task from the one of the same name in another run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.ledger.states import TaskState
from runner.providers.base import RemoteFileKind
from runner.record.diff import Change, Side, changes

WAS = Side(
    identity="a",
    state=TaskState.DONE,
    request={"duration": 4},
    seed=1,
    echoed_seed=1,
    cost_usd="0.50",
    files=((RemoteFileKind.VIDEO, "0" * 64), (RemoteFileKind.LAST_FRAME, "1" * 64)),
)


def test_the_same_task_has_not_changed() -> None:
    assert list(changes(WAS, WAS)) == []


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (replace(WAS, request={"duration": 5}), Change("request", "request.duration is 5, was 4")),
        (replace(WAS, identity="b"), Change("identity", "another task: edition, sample or service differs")),
        (replace(WAS, seed=None), Change("seed", "seed none, was 1")),
        (replace(WAS, echoed_seed=2), Change("echoed_seed", "echoed seed 2, was 1")),
        (replace(WAS, state=TaskState.FAILED), Change("state", "failed, was done")),
        (replace(WAS, cost_usd=None), Change("cost", "USD unknown, was 0.50")),
        (replace(WAS, files=WAS.files[:1]), Change("files", "last_frame is gone (was 111111111111)")),
        (
            replace(WAS, files=((RemoteFileKind.VIDEO, "2" * 64), WAS.files[1])),
            Change("files", "video is 222222222222, was 000000000000"),
        ),
    ],
)
def test_each_difference_is_one_phrase(now: Side, change: Change) -> None:
    assert list(changes(now, WAS)) == [change]


def test_a_file_that_came_is_new() -> None:
    assert list(changes(WAS, replace(WAS, files=WAS.files[:1]))) == [
        Change("files", "last_frame is new (111111111111)")
    ]
