"""Processes of the command that kill themselves at a named point, forked from one that has all modules.

Starting Python and importing takes three times as long as what a victim does until it dies. Each line
on stdin is an `Order` as JSON; the answers are the child's pid and, when it is gone, its exit status as
subprocess tells it (-9: killed). A child that stands still is answered with -19, once each time.

The points are patched into the product here, in the child; the product has no hook for them.
`none` never kills: the parent does, at a time of its own.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import anyio
import h11
from httpcore._async.http11 import AsyncHTTP11Connection

from tests.chaos import clock  # isort: split

import runner.lane.lease
import runner.ledger.postgres
import runner.run.run
import runner.store.download
from runner.__main__ import main
from runner.lane.commits import Commits
from runner.ledger.ledger import Ledger
from runner.providers.mesh.client import MeshClient
from runner.run.task.watch import Watch
from runner.store.files import LocalFiles, _LocalPart

Patch = Callable[["Fuse"], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a victim does, and what it meets. `signal` comes at the n-th passage of `point`.

    `log` is the file for what it says, `answer` one for its standard output alone. Its wall clock is `wrong`
    seconds ahead, and the times of a lease are divided by `haste`.
    """

    arguments: Sequence[str]
    log: str
    backend: str = "asyncio"
    point: str = "none"
    nth: int = 1
    signal: int = signal.SIGKILL
    environ: Mapping[str, str] = field(default_factory=dict)
    wrong: float = 0.0
    haste: float = 1.0
    answer: str = ""


class Fuse:
    """Sends this process a signal when it is lit for the n-th time."""

    def __init__(self, nth: int, signal: int) -> None:
        self._left = itertools.count(nth - 1, -1)
        self._signal = signal

    def light(self) -> None:
        if next(self._left) == 0:
            os.kill(os.getpid(), self._signal)


def _before(owner: Any, name: str) -> Patch:
    """At the call of `owner.name`, of which nothing has run."""

    def patch(fuse: Fuse) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*arguments: Any, **named: Any) -> Any:
            fuse.light()
            return original(*arguments, **named)

        setattr(owner, name, call)

    return patch


def _after(owner: Any, name: str) -> Patch:
    """When the blocking `owner.name` has returned."""

    def patch(fuse: Fuse) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            fuse.light()
            return result

        setattr(owner, name, call)

    return patch


def _after_await(owner: Any, name: str) -> Patch:
    """When the coroutine `owner.name` has returned."""

    def patch(fuse: Fuse) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(owner, name)

        @functools.wraps(original)
        async def call(*arguments: Any, **named: Any) -> Any:
            result = await original(*arguments, **named)
            fuse.light()
            return result

        setattr(owner, name, call)

    return patch


def _after_post_body(fuse: Fuse) -> None:
    """The POST is on its way: all of it was handed to the network, and no answer was read."""
    original = AsyncHTTP11Connection._send_request_body

    async def call(self: AsyncHTTP11Connection, request: Any, **named: Any) -> None:
        await original(self, request=request, **named)
        if request.method == b"POST":
            fuse.light()

    AsyncHTTP11Connection._send_request_body = call  # type: ignore[method-assign]


def _guard_passed(fuse: Fuse) -> None:
    """The POST may begin, by all that is asked; not a byte of it was handed to the network."""
    original = AsyncHTTP11Connection._send_event

    async def call(self: AsyncHTTP11Connection, event: Any, *rest: Any, **named: Any) -> None:
        if isinstance(event, h11.Request) and event.method == b"POST":
            fuse.light()
        await original(self, event, *rest, **named)

    AsyncHTTP11Connection._send_event = call  # type: ignore[method-assign]


POINTS: dict[str, Patch] = {
    "none": lambda fuse: None,
    "before-intent": _before(Ledger, "intend"),
    "intent-uncommitted": _after(Ledger, "intend"),
    "intent-durable": _before(MeshClient, "submit"),
    "guard-passed": _guard_passed,
    "post-written": _after_post_body,
    "post-answered": _after_await(MeshClient, "submit"),
    "id-uncommitted": _after(Ledger, "accept"),
    "id-durable": _before(Watch, "until_ended"),
    "collecting": _before(Ledger, "collect"),
    "downloading": _after(_LocalPart, "write"),
    "downloaded": _before(runner.store.download, "publish"),
    "renamed": _after(LocalFiles, "rename_new"),
    "published": _before(Ledger, "finish"),
    "finish-uncommitted": _after(Ledger, "finish"),
    "concluding": _before(runner.run.run, "conclude"),
    "committing": _before(Commits, "_commit"),
}
"""From the first durable byte of a task to the manifest of its run, in that order."""


def _hurry(haste: float) -> None:
    """Divides the times of a lease. An answer of the database is waited for a third of the usual time: on a
    busy machine an honest one takes seconds, too.
    """
    for name in ("HEARTBEAT", "GUARD", "TAKEOVER", "PATIENCE", "LOOK"):
        setattr(runner.lane.lease, name, getattr(runner.lane.lease, name) / haste)
    if haste > 1:
        runner.ledger.postgres.ANSWER_SECONDS /= 3


def _victim(order: Order) -> int:
    # the product chooses no backend, so anyio's default is asyncio: the child may run on trio too
    anyio.run = functools.partial(anyio.run, backend=order.backend)  # type: ignore[assignment]
    os.environ.update(order.environ)
    clock.be_wrong(order.wrong)
    _hurry(order.haste)
    POINTS[order.point](Fuse(order.nth, order.signal))
    sys.argv = ["callsheet", *order.arguments]
    return main([*order.arguments])


def _live(order: Order) -> NoReturn:
    """The child: its output goes to a file, and nothing of its parent is run at its end."""
    status = 70
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        told = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        answer = os.open(order.answer, os.O_WRONLY | os.O_CREAT, 0o600) if order.answer else told
        for kept, to in enumerate((silent, answer, told)):
            os.dup2(to, kept)
        try:
            status = _victim(order)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _serve() -> None:
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if not pid:
            _live(order)
        print(pid, flush=True)
        while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
            print(-signal.SIGSTOP, flush=True)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
