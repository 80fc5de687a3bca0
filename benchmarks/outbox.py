"""How many events a second are stored and delivered: the real store and dispatcher, a consumer in another process.

    python -m benchmarks.outbox 5000 40

Each event is stored by itself, by as many tasks at a time as there are channels, as recordings do it.
"""

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from aiohttp import web

from rokuga.devtools.serving import serving
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.outbox import Outbox
from tests.material import event

PATIENCE_S = 300


async def consume() -> None:
    """Respond with 200 to every POST on a free port, which is printed, until standard input ends."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    application = web.Application()
    application.router.add_post("/", take)
    async with serving(application) as address:
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def consumer() -> AsyncIterator[str]:
    """Run a consumer in its own process; yield its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.outbox",
        "consume",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://{(await process.stdout.readline()).decode().strip()}/"
    finally:
        process.stdin.close()
        await process.wait()


async def measure(events: int, channels: int) -> None:
    """Store so many events over so many channels, wait until all are delivered, and print both rates."""
    sequence = [
        event(number, f"channel {number % channels}", document={"number": number}) for number in range(events)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rokuga.sqlite3")
        async with consumer() as url:
            config = WebhookConfig(url=url, log_dir=Path(folder, "log"))
            async with (
                SqliteStore(path) as store,
                Outbox(path, store, config, Clock()) as outbox,
                Dispatcher(outbox, webhook_consumer(config), config, Clock()) as dispatcher,
            ):

                async def append_all(channel: int) -> None:
                    for each in sequence[channel::channels]:
                        await store.append([each])
                        outbox.notify()

                began_s, cpu_s = time.monotonic(), time.process_time()
                await asyncio.gather(*(append_all(channel) for channel in range(channels)))
                stored_s = time.monotonic() - began_s
                assert await dispatcher.drain(PATIENCE_S * NS_PER_S)
                delivered_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    print(
        f"{events:7} {channels:8} {events / stored_s:8.0f} {events / delivered_s:11.0f} {cpu_s / events * 1e6:12.0f}"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["consume"]:
        uvloop.run(consume())
    else:
        print(
            f"{datetime.now(UTC):%Y-%m-%d}  {platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}"
        )
        print(f"{'events':>7} {'channels':>8} {'stored/s':>8} {'delivered/s':>11} {'CPU us each':>12}")
        uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2])))
