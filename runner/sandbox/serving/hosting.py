"""uvicorn in a thread. Imports the optional extras, so only `server` imports it, and late."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading

import uvicorn

from runner.sandbox.config import SandboxConfig
from runner.sandbox.connection import OpenProtocol
from runner.sandbox.faults import FaultPlan
from runner.sandbox.results.render import Renderer
from runner.sandbox.service import Service
from runner.sandbox.serving.app import make_app
from runner.sandbox.state import State
from runner.sandbox.store import Store
from runner.sandbox.webhooks import Webhooks

_BACKLOG = 1024
_GRACE = 2.0


class Host:
    """One running server; `url` is known from the start, `start` returns when it accepts connections."""

    def __init__(self, config: SandboxConfig, store: Store, faults: FaultPlan) -> None:
        self._config = config
        self._store = store
        self._faults = faults
        self._socket = _bind(config.host, config.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def start(self) -> None:
        """Raises what kept the server from starting."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        if self._server is not None:
            self._server.request_stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._socket.close()
            self._ready.set()

    async def _serve(self) -> None:
        directory = self._config.store.parent / "rendered" if self._config.store is not None else None
        with contextlib.closing(
            Renderer(directory, self._config.cache_bytes, self._config.render_threads)
        ) as renderer:
            service = Service(self._config, self._store)
            service.base_url = self._config.public_url or self.url
            state = State(
                service=service,
                faults=self._faults,
                renderer=renderer,
                webhooks=Webhooks(service, self._faults),
                stopping=asyncio.Event(),
            )
            self._server = _Server(
                uvicorn.Config(
                    make_app(state),
                    http=OpenProtocol,
                    ws="none",
                    loop="asyncio",
                    lifespan="on",
                    log_config=None,
                    log_level="error",
                    access_log=False,
                    server_header=False,
                    timeout_keep_alive=75,
                    backlog=_BACKLOG,
                ),
                state.stopping,
                self._ready,
            )
            await self._server.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Tells when it accepts connections, and stops at once: uvicorn's own way waits 100 ms twice."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, ready: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._ready_event = ready
        self._loop = asyncio.get_running_loop()

    def request_stop(self) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        # on_tick writes the Date header of all answers, every tenth count, so each of ours is one.
        await self.on_tick(0)
        self._ready_event.set()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=0.5)
            await self.on_tick(0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        tasks = set(self.server_state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket, so that the port is known before the server runs. Raises OSError."""
    try:
        is_six = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_six = False
    # asyncio turns Nagle's algorithm off only where the protocol is named: 44 ms per answer otherwise.
    family = socket.AF_INET6 if is_six else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
