"""What a verb does at its end about local copies that `store_keep` lets go."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container
from typing import TYPE_CHECKING

from runner.cli import console
from runner.cli.humanize import size
from runner.cli.runs import reading
from runner.errors import BusyError
from runner.job.project.load_project import readable_project_file
from runner.plural import count
from runner.project import Project
from runner.run.lock import project_lock

if TYPE_CHECKING:
    from runner.run.files.evict import Evicted


def evict_old(
    project: Project, needed: Container[str] = frozenset(), *, trust_env: bool = False
) -> Evicted | None:
    """Removes what may go, and says so; None where nothing may. Where another process is at work here, that
    one does it.
    """
    said = readable_project_file(project.root)
    if project.is_rehearsal or not said.store or said.store_keep is None:
        return None
    # imported here: it takes 40 ms, and few projects have a store
    from runner.http.route import find_route
    from runner.objects.store import Stores
    from runner.run.files.evict import Evicted, evict

    stores = Stores(find_route(os.environ, trust_env=trust_env or said.trust_env))
    before, gone = time.time() - said.store_keep, Evicted()
    with contextlib.suppress(BusyError), project_lock(project), reading(project) as ledger:
        if ledger is not None:
            gone = evict(project, ledger, stores, store=said.store, before=before, needed=needed)
    if gone.files:
        console.note(
            f"{count(gone.files, 'file')}, {size(gone.bytes)}, of which {said.store} has a copy:"
            " removed here after store_keep"
        )
    if gone.trouble:
        console.error(f"local copies stay: {gone.trouble}")
    return gone
