"""One download as the tests of this package make it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from runner.engine.download import (
    DownloadError,
    DownloadLimits,
    DownloadRequest,
    DownloadTrouble,
    FileRecord,
    download,
)
from runner.engine.download_client import download_client
from runner.engine.files import FileStore
from runner.engine.seams import WorkerThreads

LIMITS = DownloadLimits(total_seconds=10, header_seconds=5, free_reserve=0, batch=4096)

# loading the authorities takes 36 ms, and every test has a client of its own
TLS = ssl.create_default_context()


def make_request(
    url: str, *, limits: DownloadLimits = LIMITS, allow_loopback: bool = True
) -> DownloadRequest:
    return DownloadRequest(
        url=url,
        target=Path("out/clip.mp4"),
        part=Path("out/clip.mp4.part"),
        allow_loopback=allow_loopback,
        limits=limits,
    )


async def fetch(request: DownloadRequest, files: FileStore) -> FileRecord:
    async with download_client(allow_loopback=True, tls=TLS) as client:
        return await download(request, client=client, files=files, threads=WorkerThreads())


async def trouble_of(request: DownloadRequest, files: FileStore) -> DownloadError:
    """The error of a download that must fail, checked for the signed part of its URL."""
    with pytest.raises(DownloadError) as caught:
        await fetch(request, files)
    assert "canary" not in str(caught.value)
    assert not (files.root / request.target).exists() or caught.value.trouble is DownloadTrouble.TARGET_EXISTS
    return caught.value


def left_over(files: FileStore) -> set[str]:
    return {path.name for path in (files.root / "out").iterdir()}
