"""Inputs on their way to the project's own storage."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.lane.machine import WorkerThreads
from runner.lane.uploads import ObjectUploads
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectStore
from runner.providers.base import InputFile

pytestmark = pytest.mark.anyio
MANY = 60
"""More than anyio's own threads."""


async def test_storage_that_hangs_takes_no_thread_from_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_up = threading.Event()

    def hang(*_: object, **__: object) -> None:
        is_up.wait(30)

    monkeypatch.setattr(ObjectStore, "create", hang)
    monkeypatch.setattr(ObjectStore, "signed", lambda *_: "https://bucket.example.com/a")
    uploads = ObjectUploads(ObjectStore.open(ObjectAddress.parse("s3://bucket/in")), environment={})
    async with anyio.create_task_group() as putting:
        for number in range(MANY):
            content = str(number).encode()
            digest = hashlib.sha256(content).hexdigest()
            file = InputFile(digest, "image/png", len(content), tmp_path / f"{number}.png")
            putting.start_soon(uploads.put, 60.0, file, content)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(20):
            assert await WorkerThreads().run(lambda: "committed") == "committed"
        is_up.set()
