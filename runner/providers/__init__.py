"""One file per service behind one Protocol; the registry is here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import KeyRefusedError
from runner.http.access import Access, ApiKey, parse_origin
from runner.providers.base import Provider

if TYPE_CHECKING:
    from runner.http.free import FreeLimits, FreeRequests
    from runner.http.paid import PaidRequests, SubmitLimits

Build = Callable[["PaidRequests", "FreeRequests", Callable[[], float]], Provider]


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """How to reach a service: `key_variables` are asked in order; `url_variable` replaces the default."""

    name: str
    default_origin: str
    key_variables: tuple[str, ...]
    url_variable: str
    build: Build

    def find_origin(self, environment: Mapping[str, str], *, base_url: str | None = None) -> str:
        """The origin by the option, else the environment, else the default. Raises UsageError.

        Never from `.env` or a job file: pass the process's own environment.
        """
        if base_url is not None:
            return parse_origin(base_url, source="--base-url")
        named = environment.get(self.url_variable, "").strip()
        return parse_origin(named, source=self.url_variable) if named else self.default_origin

    def find_key(self, environment: Mapping[str, str], *, variable: str | None = None) -> ApiKey:
        """The key in the first variable that is set, or in `variable` alone. Raises KeyRefusedError."""
        names = (variable,) if variable else self.key_variables
        for name in names:
            if environment.get(name, "").strip():
                return ApiKey.load(environment[name], source=name)
        raise KeyRefusedError(
            f"no API key for {self.name}: {' and '.join(names)} not set",
            hint=f"export {names[0]}=<your key>, or rehearse with --sandbox",
        )


# The modules of the services are imported when a connection is opened: httpx costs 80 ms, and verbs
# that send nothing ask the registry for names alone.


def _mesh(submits: PaidRequests, free: FreeRequests, wall: Callable[[], float]) -> Provider:
    from runner.providers.mesh.client import MeshClient

    return MeshClient(submits, free, wall=wall)


def _getimg(submits: PaidRequests, free: FreeRequests, wall: Callable[[], float]) -> Provider:
    from runner.providers.getimg.client import GetimgClient

    return GetimgClient(submits, free, wall=wall)


REGISTRY: dict[str, ProviderSpec] = {
    "mesh": ProviderSpec(
        name="mesh",
        default_origin="https://api.meshapi.ai",
        key_variables=("MESHAPI_API_KEY", "MESHAPI_TOKEN"),
        url_variable="MESHAPI_BASE_URL",
        build=_mesh,
    ),
    "getimg": ProviderSpec(
        name="getimg",
        default_origin="https://api.getimg.ai",
        key_variables=("GETIMG_API_KEY",),
        url_variable="GETIMG_AI_BASE_URL",
        build=_getimg,
    ),
}


@contextlib.asynccontextmanager
async def open_provider(
    spec: ProviderSpec,
    access: Access,
    *,
    submit_limits: SubmitLimits | None = None,
    free_limits: FreeLimits | None = None,
    trust_env: bool = False,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Provider]:
    """A provider with its connections, which are closed at the end."""
    # imported here, as the services' modules are: it takes 7 ms
    import ssl

    from runner.http.free import FreeRequests
    from runner.http.paid import PaidRequests
    from runner.http.transport import Transport, environment_proxy, open_client, tls_context

    # loading the trusted certificates takes 10 ms or more; plain http gets a context that trusts none
    is_tls = access.origin.startswith("https:")
    tls = tls_context(trust_env=trust_env) if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = environment_proxy(access.origin) if trust_env else None
    async with open_client(Transport(tls=tls, proxy=proxy)) as client:
        paid = PaidRequests(access, client, submit_limits)
        yield spec.build(paid, FreeRequests(access, client, free_limits, wall=wall), wall)
