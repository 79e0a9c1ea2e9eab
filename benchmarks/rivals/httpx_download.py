"""One download with httpx alone, told as `benchmarks.fetch` tells its own: `httpx_download URL TARGET`."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import httpx


async def main(url: str, target: Path) -> None:
    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        with target.open("wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)
    target.with_name(f"{target.name}.seconds").write_text(f"{time.perf_counter() - started}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
