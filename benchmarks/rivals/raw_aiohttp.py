"""Submit, poll and download with bare aiohttp: `raw_aiohttp URL FOLDER TASKS IN_FLIGHT [INTERVAL]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

INTERVAL = 5.0


async def make(session: aiohttp.ClientSession, folder: Path, seed: int, interval: float) -> None:
    body = {
        "model": "byteplus/seedance-1-0-pro",
        "seed": seed,
        "resolution": "480p",
        "content": [{"type": "text", "text": "a teapot"}],
    }
    async with session.post("/v1/video/generations", json=body) as answer:
        task = (await answer.json())["id"]
    while True:
        async with session.get(f"/v1/video/generations/{task}") as answer:
            state = await answer.json()
        if state["status"] == "succeeded":
            break
        await asyncio.sleep(interval)
    async with session.get(state["content"]["video_url"]) as response:
        with (folder / f"s{seed}.mp4").open("wb") as file:
            async for chunk in response.content.iter_any():
                file.write(chunk)


async def main(url: str, folder: Path, tasks: int, in_flight: int, interval: float = INTERVAL) -> None:
    seeds = iter(range(tasks))
    async with aiohttp.ClientSession(
        base_url=url,
        headers={"Authorization": "Bearer rsk_benchmark"},
        connector=aiohttp.TCPConnector(limit=in_flight),
        raise_for_status=True,
    ) as session:

        async def worker() -> None:
            for seed in seeds:
                await make(session, folder, seed, interval)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())


if __name__ == "__main__":
    url, place, tasks, in_flight, *interval = sys.argv[1:]
    asyncio.run(main(url, Path(place), int(tasks), int(in_flight), *map(float, interval)))
