"""One download as a run makes it: `fetch URL TARGET`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from runner.engine.download import DownloadRequest, download
from runner.engine.download_client import download_client
from runner.engine.files import LocalFiles
from runner.engine.seams import WorkerThreads


async def main(url: str, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    request = DownloadRequest(url=url, target=target, part=part, allow_loopback=True)
    async with download_client(allow_loopback=True) as client:
        await download(request, client=client, files=LocalFiles(target.parent), threads=WorkerThreads())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]).resolve())
