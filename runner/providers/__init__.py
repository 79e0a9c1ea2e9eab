"""The services, by name: the built-in ones, and what a distribution adds as `callsheet.providers`."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from runner.errors import UsageError
from runner.http.access import Access, origin_of
from runner.json_value import JsonValue
from runner.providers.ark import ARK
from runner.providers.base import Client, RemoteFileKind
from runner.providers.fal import FAL
from runner.providers.getimg import GETIMG
from runner.providers.mesh import MESH
from runner.providers.openai import OPENAI
from runner.providers.provider import Provider

if TYPE_CHECKING:
    from runner.http.free import FreeLimits
    from runner.http.paid import SubmitLimits
    from runner.http.route import Route
    from runner.http.transport import Guard

ENTRY_POINTS: Final = "callsheet.providers"
BUILT_IN: Final[Mapping[str, Provider]] = {each.name: each for each in (MESH, GETIMG, ARK, FAL, OPENAI)}
DEFAULT: Final = MESH
"""Of a job that names none."""


def find(name: str) -> Provider | None:
    """The provider of this name; None where it is not installed. Raises UsageError for a broken plug-in."""
    return BUILT_IN.get(name) or every().get(name)


@functools.cache
def every() -> Mapping[str, Provider]:
    """All that are installed, the built-in ones first: no plug-in takes their place, or their keys.

    Raises UsageError for a plug-in that declares another name than its entry point.
    """
    # imported here: it takes 10 ms, and most jobs name a built-in provider
    from importlib.metadata import entry_points

    found = dict(BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found:
            continue
        provider = point.load()
        if not isinstance(provider, Provider) or provider.name != point.name:
            raise UsageError(f"the plug-in {point.value} declares no provider `{point.name}`")
        found[point.name] = provider
    return found


def wanted_kinds(name: str, request: Mapping[str, JsonValue]) -> frozenset[RemoteFileKind]:
    """The kinds of files that a request asks for; a video where its provider is not installed."""
    provider = find(name)
    return frozenset({RemoteFileKind.VIDEO}) if provider is None else provider.wanted(request)


def prompt_texts(name: str, request: Mapping[str, JsonValue]) -> list[str]:
    """The texts that a request's pictures are made from; none where its provider is not installed."""
    provider = find(name)
    return [] if provider is None else [text for _, text in provider.dialect.texts(request)]


@contextlib.asynccontextmanager
async def connect(
    provider: Provider,
    access: Access,
    *,
    route: Route | None = None,
    submit_limits: SubmitLimits | None = None,
    free_limits: FreeLimits | None = None,
    guard: Guard | None = None,
) -> AsyncIterator[Client]:
    """A client with its connections, which are closed at the end; they are direct without a `route`. `guard`
    is asked before each paid POST.

    Raises UsageError where the route's certificates cannot be read.
    """
    # imported here, as the services' clients are: it takes 7 ms
    import ssl

    from runner.http.free import FreeRequests
    from runner.http.paid import PaidRequests
    from runner.http.transport import (
        Transport,
        Tunnels,
        always,
        make_room_for_lookups,
        open_client,
        tls_context,
    )

    make_room_for_lookups()

    # loading the trusted certificates takes 10 ms or more; plain http gets a context that trusts none
    is_tls = access.origin.startswith("https:")
    certificates = route.certificates if route is not None else ""
    tls = tls_context(certificates) if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    network = Tunnels(route) if route is not None and route.proxy is not None else None
    async with open_client(Transport(tls=tls, network_backend=network)) as client:
        paid = PaidRequests(access, client, submit_limits, guard or always)
        free_at = functools.partial(
            FreeRequests, client=client, limits=free_limits, wall=time.time, uploads=provider.upload_paths
        )
        # a sandbox, or a gateway, stands for all of a service's hosts
        is_replaced = access.origin != provider.origin + provider.base_path
        origins = {
            role: origin_of(access.origin) if is_replaced else host for role, host in provider.hosts.items()
        }
        hosts = {role: free_at(replace(access, origin=origin)) for role, origin in origins.items()}
        made = provider.make_client(paid, free_at(access), time.time, hosts)
        yield replace(made, tag_field=provider.tag.field) if provider.tags and provider.tag else made
