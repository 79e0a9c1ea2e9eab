"""Starts and stops a sandbox."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from runner.sandbox.config import SandboxConfig, SandboxUnavailable
from runner.sandbox.faults import FaultPlan
from runner.sandbox.store import AcceptedTask, Store

if TYPE_CHECKING:
    from runner.sandbox.serving.hosting import Host

_EXTRAS = frozenset({"av", "cryptography", "PIL", "starlette", "uvicorn"})


class SandboxServer:
    """A sandbox on a real socket, in a thread with an event loop of its own, for a `with` block.

    Entering raises SandboxUnavailable where an extra is missing, OSError where the address
    cannot be bound or the store cannot be opened.
    """

    def __init__(self, config: SandboxConfig | None = None) -> None:
        self.config = config or SandboxConfig()
        self.faults = FaultPlan()
        self._store: Store | None = None
        self._host: Host | None = None

    def __enter__(self) -> SandboxServer:
        try:
            # Optional extras: without them the rest of callsheet works.
            from runner.sandbox.serving.hosting import Host
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _EXTRAS:
                raise
            raise SandboxUnavailable(
                f"the sandbox needs {error.name}; install it with: pip install 'callsheet[server,media]'"
            ) from error
        self._store = Store(self.config.store)
        try:
            self._host = Host(self.config, self._store, self.faults)
            self._host.start()
        except BaseException:
            self._store.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._host is not None:
            self._host.stop()
        if self._store is not None:
            self._store.close()

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:40123`, without a slash at its end."""
        if self._host is None:
            raise RuntimeError("the sandbox has not been started")
        return self._host.url

    @property
    def accepted(self) -> int:
        """How many POSTs were accepted, by earlier processes too; known after the block as well."""
        return self._opened().count

    def tasks(self) -> tuple[AcceptedTask, ...]:
        """Every accepted task in the order of acceptance; only within the block."""
        return self._opened().all()

    def _opened(self) -> Store:
        if self._store is None:
            raise RuntimeError("the sandbox has not been started")
        return self._store


def serve(config: SandboxConfig, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; calls `announce(url)` once connections are accepted.

    Call it from the main thread. Raises what entering SandboxServer raises.
    """
    # a pipe: a handler that sets an Event waits for ever where it interrupts that Event's own wait
    told, tell = os.pipe()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        os.write(tell, b"\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with SandboxServer(config) as server:
            announce(server.url)
            os.read(told, 1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)
