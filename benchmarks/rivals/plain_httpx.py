"""Submit, poll and download with httpx, or with httpx2, which has the same names:
`plain_httpx LIBRARY URL FOLDER TASKS IN_FLIGHT`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

INTERVAL = 5.0


async def make(client: Any, folder: Path, seed: int) -> None:
    body = {
        "model": "byteplus/seedance-1-0-pro",
        "seed": seed,
        "resolution": "480p",
        "content": [{"type": "text", "text": "a teapot"}],
    }
    answer = await client.post("/v1/video/generations", json=body)
    answer.raise_for_status()
    task = answer.json()["id"]
    while True:
        answer = await client.get(f"/v1/video/generations/{task}")
        answer.raise_for_status()
        state = answer.json()
        if state["status"] == "succeeded":
            break
        await asyncio.sleep(INTERVAL)
    async with client.stream("GET", state["content"]["video_url"]) as response:
        response.raise_for_status()
        with (folder / f"s{seed}.mp4").open("wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)


async def main(httpx: Any, url: str, folder: Path, tasks: int, in_flight: int) -> None:
    seeds = iter(range(tasks))
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    headers = {"Authorization": "Bearer rsk_benchmark"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60) as client:

        async def worker() -> None:
            for seed in seeds:
                await make(client, folder, seed)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())


if __name__ == "__main__":
    library, url, folder, tasks, in_flight = sys.argv[1:]
    asyncio.run(main(importlib.import_module(library), url, Path(folder), int(tasks), int(in_flight)))
