"""A process that stores events and delivers them, to be killed at any moment.

Arguments: folder, URL, the first number, how many numbers. Each number is printed when its event is committed; then
the process stays until everything is delivered. Its clock runs a hundred times as fast, for the sake of the retries.
"""

import asyncio
import sys
import time
from pathlib import Path

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.outbox import Outbox
from tests.material import WALL_NS, event

CHANNELS = 5


def fast_ns() -> int:
    """Time, but hurried; it goes on from process to process."""
    return time.monotonic_ns() * 100


async def live(folder: Path, url: str, first: int, count: int) -> None:
    """Store and deliver."""
    path = folder / "x.sqlite3"
    config = WebhookConfig(url=url, log_dir=folder / "log", max_age_ns=365 * 24 * 3600 * NS_PER_S)
    clock = Clock(monotonic_ns=fast_ns, wall_ns=lambda: WALL_NS + fast_ns())
    async with (
        SqliteStore(path) as store,
        Outbox(path, store, config, clock) as outbox,
        Dispatcher(outbox, webhook_consumer(config), config, clock) as dispatcher,
    ):
        for number in range(first, first + count):
            await store.append([event(number, f"channel {number % CHANNELS}", document={"number": number})])
            print(number, flush=True)
            outbox.notify()
        while not await dispatcher.drain(NS_PER_S) or (await outbox.counters())["outbox_pending"]:
            await asyncio.sleep(0.01)  # what is put off is due soon, by this clock
            outbox.notify()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
