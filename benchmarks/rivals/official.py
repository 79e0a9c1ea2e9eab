"""Submit, wait and download with a service's own client: `official CLIENT URL FOLDER TASKS IN_FLIGHT SPEED`.

Those of Mesh and getimg (and Ark's) have no helper that waits: their READMEs show the loop below, a look and
5 s of sleep. OpenAI's `videos.poll` and Replicate's `async_wait` are helpers; each is given its own
default interval, divided by SPEED.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

Make = Callable[[], Awaitable[str]]
"""One generation, waited for; gives the URL of its file."""

README_INTERVAL = 5.0
OPENAI_INTERVAL = 1.0
REPLICATE_INTERVAL = 0.5


def mesh(url: str, speed: float) -> Make:
    meshapi = importlib.import_module("meshapi")
    client = meshapi.AsyncMeshAPI(base_url=url, token="rsk_benchmark")
    content = [meshapi.VideoContentItem(type="text", text="a teapot")]
    request = meshapi.VideoGenerationParams(model="byteplus/seedance-1-0-pro", content=content)

    async def make() -> str:
        task = await client.videos.generate(request)
        while True:
            status = await client.videos.retrieve(task.id)
            if status.status in ("succeeded", "failed"):
                return str(status.content.video_url)
            await asyncio.sleep(README_INTERVAL / speed)

    return make


def getimg(url: str, speed: float) -> Make:
    client = importlib.import_module("getimg").AsyncGetimgAI(api_key="sk_benchmark", base_url=url)

    async def make() -> str:
        generations = client.videos.generations
        task = await generations.create(model="seedance-v1-pro", prompt="a teapot")
        result = await generations.retrieve(task.id)
        while result.status == "pending":
            await asyncio.sleep(README_INTERVAL / speed)
            result = await generations.retrieve(task.id)
        return str(result.data[0].url)

    return make


def openai(url: str, speed: float) -> Make:
    client = importlib.import_module("openai").AsyncOpenAI(base_url=f"{url}/v1", api_key="benchmark")

    async def make() -> str:
        pause = round(1000 * OPENAI_INTERVAL / speed)
        video = await client.videos.create_and_poll(prompt="a teapot", poll_interval_ms=pause)
        return f"{url}/result/{video.id}.mp4"

    return make


def replicate(url: str, speed: float) -> Make:
    client = importlib.import_module("replicate").Client(api_token="benchmark", base_url=url)
    client.poll_interval = REPLICATE_INTERVAL / speed

    async def make() -> str:
        prediction = await client.predictions.async_create(version="hidden", input={"prompt": "a teapot"})
        await prediction.async_wait()
        return str(prediction.output)

    return make


CLIENTS = {function.__name__: function for function in (mesh, getimg, openai, replicate)}


async def main(name: str, url: str, folder: Path, tasks: int, in_flight: int, speed: float) -> None:
    make, waiting = CLIENTS[name](url, speed), iter(range(tasks))

    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def worker() -> None:
            for number in waiting:
                source = await make()
                async with session.get(source) as answer:
                    (folder / f"{number}.mp4").write_bytes(await answer.read())

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())


if __name__ == "__main__":
    name, url, place, tasks, in_flight, speed = sys.argv[1:]
    asyncio.run(main(name, url, Path(place), int(tasks), int(in_flight), float(speed)))
