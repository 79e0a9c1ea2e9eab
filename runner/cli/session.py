"""Puts together what a verb that talks to a service works with, and takes it apart again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from runner.cli.service import Place
from runner.engine.commits import Commits
from runner.engine.download_client import download_client
from runner.engine.files import LocalFiles
from runner.engine.lock import project_lock
from runner.engine.seams import Seams
from runner.engine.webhook import receiver
from runner.engine.world import World
from runner.errors import UsageError
from runner.job.model import WebhookPolicy
from runner.ledger.ledger import Ledger
from runner.project import Project
from runner.providers import open_provider
from runner.providers.access import Access, ApiKey, is_loopback
from runner.record.events import Observer
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer, SandboxUnavailable


@contextlib.contextmanager
def locked_ledger(project: Project, *, wait: float) -> Iterator[Ledger]:
    """The ledger, open for writing behind the project's lock. Raises BusyError, StateError."""
    with project_lock(project, wait=wait):
        ledger = Ledger.open(project.ledger_path)
        try:
            yield ledger
        finally:
            ledger.close()


def sandbox_key() -> ApiKey:
    """The key of a rehearsal, which needs none of the user's."""
    return ApiKey.load(SANDBOX_KEY, source="the sandbox")


@contextlib.contextmanager
def served(place: Place, key: ApiKey) -> Iterator[Access]:
    """Access to the service; the embedded sandbox runs for as long as this is open.

    Its tasks lie in the rehearsal, so that a killed one finds them again. Enter it under the lock.
    """
    if place.url is not None:
        yield Access(place.url, key)
        return
    store = place.project.state_dir / "sandbox"
    store.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(SandboxServer(SandboxConfig(store=store / "tasks.db")))
        except SandboxUnavailable as error:
            raise UsageError(str(error)) from error
        yield Access(server.url, key)


@contextlib.asynccontextmanager
async def open_world(
    place: Place, access: Access, ledger: Ledger, observe: Observer, webhook: WebhookPolicy | None = None
) -> AsyncIterator[World]:
    """All that the engine works with, over real clocks, disks and connections."""
    seams = Seams()
    loopback = is_loopback(access.origin)
    async with (
        open_provider(place.spec, access) as provider,
        download_client(allow_loopback=loopback) as downloads,
        receiver(webhook, ledger.salt) as hints,
    ):
        yield World(
            project=place.project,
            origin=place.origin,
            provider=provider,
            commits=Commits(ledger, seams.threads),
            downloads=downloads,
            files=LocalFiles(place.project.base),
            seams=seams,
            observe=observe,
            key_hash=access.key.fingerprint(ledger.salt),
            is_loopback=loopback,
            hints=hints,
        )
