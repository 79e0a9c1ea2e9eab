"""Where a job's requests go, and where its files land because of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runner.http.access import ApiKey, is_loopback
from runner.project import Project
from runner.providers.provider import Provider

SANDBOX_ORIGIN = "sandbox"
"""The embedded sandbox in a task's identity: its port is another one at each start."""

REHEARSAL_KEY = "rsk_sandbox"
"""The embedded sandbox takes any key that begins so."""


@dataclass(frozen=True, slots=True)
class Place:
    """A service and a project. `url` is None for the embedded sandbox.

    What goes to the sandbox, or to a loopback address, is a rehearsal. `trust_env`: whether the proxy and
    the certificates of the environment are used on the way.
    """

    provider: Provider
    project: Project
    origin: str
    url: str | None
    trust_env: bool = False

    @classmethod
    def at(cls, provider: Provider, project: Project, origin: str, *, trust_env: bool = False) -> Place:
        """The place of an origin as plans name it: SANDBOX_ORIGIN, or scheme, host and port."""
        if origin == SANDBOX_ORIGIN:
            return cls(provider, project.rehearsal(), origin, None, trust_env)
        at = project.rehearsal() if is_loopback(origin) else project
        return cls(provider, at, origin, origin, trust_env)

    def find_key(self, environment: Mapping[str, str], *, variable: str | None = None) -> ApiKey:
        """The key for the service, from `variable` where that is given. Raises KeyRefusedError."""
        if self.url is None:
            return ApiKey.load(REHEARSAL_KEY, source="the sandbox")
        return self.provider.find_key(environment, variable=variable)
