"""A network between two machines: `delay PORT SECONDS` hands each byte on after half of a round trip.

Prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import sys


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """What comes meanwhile is on its way too: nothing waits for what came before it."""
    loop = asyncio.get_running_loop()
    on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            at, data = await on_its_way.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)

    arriving = asyncio.create_task(arrive())
    data = b"."
    while data:
        try:
            data = await reader.read(65_536)
        except ConnectionError:
            data = b""
        on_its_way.put_nowait((loop.time() + seconds, data))
    await arriving


async def _serve(port: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _hand_on(reader, far_writer, seconds / 2), _hand_on(far_reader, writer, seconds / 2)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
