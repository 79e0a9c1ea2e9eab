"""The ASGI application: the services' routes, results, and the sandbox's own two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.sandbox.answers import answer, error, plain_error
from runner.sandbox.ark import ark_routes
from runner.sandbox.config import SandboxUnavailable
from runner.sandbox.downloads import download_routes
from runner.sandbox.fal import fal_routes, queue_routes
from runner.sandbox.faults import Fault
from runner.sandbox.getimg import getimg_routes
from runner.sandbox.mesh import mesh_routes
from runner.sandbox.openai import openai_routes
from runner.sandbox.state import State

ENTRY_POINTS = "callsheet.sandboxes"
BUILT_IN: dict[str, Callable[[State], list[Route]]] = {
    "mesh": mesh_routes,
    "getimg": getimg_routes,
    "ark": ark_routes,
    "openai": openai_routes,
    # last: a model's name is a path of its own
    "fal": fal_routes,
}

_CODES = {404: "not_found", 405: "method_not_allowed"}


def make_app(state: State) -> Starlette:
    """The sandbox as an ASGI application; its lifespan ends what it has begun.

    Raises SandboxUnavailable where it cannot speak as the provider that it is for.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        state.webhooks.resume()
        try:
            yield
        finally:
            await state.webhooks.close()

    routes = [*_service_routes(state), *download_routes(state), *_own_routes(state)]
    app = Starlette(
        # a path of two words or more that no other service has begun is a model
        routes=[*routes, *queue_routes(state, {route.path.split("/")[1] for route in routes})],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a 307 is in neither service's documents
    return app


def _service_routes(state: State) -> list[Route]:
    """Those of the built-in services, and of installed ones where they may be asked for."""
    makers = dict(BUILT_IN)
    wanted = state.service.config.provider
    if wanted not in makers:
        # imported here: it takes 10 ms, and most rehearse a built-in service
        from importlib.metadata import entry_points

        makers = {each.name: each.load() for each in entry_points(group=ENTRY_POINTS)} | makers
    if wanted is not None and wanted not in makers:
        raise SandboxUnavailable(f"{wanted} cannot be rehearsed: no package installs a sandbox for it")
    return [route for make in makers.values() for route in make(state)]


async def _http_error(request: Request, problem: Exception) -> Response:
    if not isinstance(problem, HTTPException):
        raise problem
    code = _CODES.get(problem.status_code, "bad_request")
    word = plain_error if request.url.path.startswith("/v2/") else error
    return word(problem.status_code, code, problem.detail, headers=dict(problem.headers or {}))


def _own_routes(state: State) -> list[Route]:
    """Statistics and faults, without a key: the server listens on loopback."""

    async def stats(_: Request) -> Response:
        return answer(
            {
                "accepted": state.service.store.count,
                "rendered": state.renderer.rendered,
                "webhooks": state.webhooks.sent,
                **state.stats.document(),
            }
        )

    async def add_faults(request: Request) -> Response:
        try:
            document = await request.json()
            faults = [
                Fault.from_json(each) for each in (document if isinstance(document, list) else [document])
            ]
        except ValueError as problem:
            return error(422, "validation_error", str(problem))
        state.faults.add(*faults)
        return answer({"added": len(faults)})

    async def clear_faults(_: Request) -> Response:
        state.faults.clear()
        return answer({})

    return [
        Route("/_sandbox/stats", stats, methods=["GET"]),
        Route("/_sandbox/faults", add_faults, methods=["POST"]),
        Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
    ]
