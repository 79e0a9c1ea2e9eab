"""One download with httpx alone: `httpx_download URL TARGET`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx


async def main(url: str, target: Path) -> None:
    async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        with target.open("wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
