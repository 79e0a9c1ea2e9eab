"""Access to a service for a few free questions, outside of any run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from runner.errors import UsageError
from runner.http.access import Access, ApiKey
from runner.providers.place import Place
from runner.sandbox import SandboxConfig, SandboxServer, SandboxUnavailable


@contextlib.contextmanager
def access_to(place: Place, key: ApiKey) -> Iterator[Access]:
    """How to reach the service; for a rehearsal a sandbox of its own, so that none under way is disturbed.

    Raises UsageError where there is no sandbox.
    """
    if place.url is not None:
        yield Access(place.url, key, place.provider.key_scheme)
        return
    try:
        with SandboxServer(SandboxConfig()) as server:
            yield Access(server.url + place.provider.base_path, key, place.provider.key_scheme)
    except SandboxUnavailable as error:
        raise UsageError(str(error)) from error
