"""One download as a run makes it: `fetch URL TARGET`; how many seconds it took stands in `TARGET.seconds`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import anyio

from runner.http.transport import tls_context
from runner.store.download import Downloader, DownloadRequest
from runner.store.files import LocalFiles


async def main(url: str, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    request = DownloadRequest(url=url, target=target, part=part, allow_loopback=True)
    fetch = Downloader(LocalFiles(target.parent), tls_context())
    started = time.perf_counter()
    await fetch(request)
    target.with_name(f"{target.name}.seconds").write_text(f"{time.perf_counter() - started}\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]).resolve())
