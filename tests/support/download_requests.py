"""One download as the tests of this package make it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from runner.http.fetch import Patience
from runner.store.download import (
    Downloader,
    DownloadError,
    DownloadLimits,
    DownloadRequest,
    DownloadTrouble,
    FileRecord,
)
from runner.store.files import FileStore

LIMITS = DownloadLimits(free_reserve=0, batch=4096, patience=Patience(total=10, head=5))

# loading the authorities takes 36 ms
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
    return await Downloader(files, TLS)(request)


async def trouble_of(request: DownloadRequest, files: FileStore) -> DownloadError:
    """The error of a download that must fail, checked for the signed part of its URL."""
    with pytest.raises(DownloadError) as caught:
        await fetch(request, files)
    assert "canary" not in str(caught.value)
    assert not (files.root / request.target).exists() or caught.value.trouble is DownloadTrouble.TARGET_EXISTS
    return caught.value


def left_over(files: FileStore) -> set[str]:
    return {path.name for path in (files.root / "out").iterdir()}
