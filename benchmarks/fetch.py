"""One download as a run makes it: `fetch URL TARGET`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from runner.engine.download import Downloader, DownloadRequest
from runner.engine.files import LocalFiles
from runner.providers.http import tls_context


async def main(url: str, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    request = DownloadRequest(url=url, target=target, part=part, allow_loopback=True)
    await Downloader(LocalFiles(target.parent), tls_context())(request)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]).resolve())
