"""A store, an outbox and a dispatcher over a real file."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.store import Owner
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.entry import Entry
from rokuga.webhooks.outbox import Outbox
from tests.material import ManualClock

MIDDLE = 0.5
"""The random number that gives the pauses as they are in the table."""


CONFIG = WebhookConfig(url="http://127.0.0.1:1/", version="1")
CLOCK = ManualClock()
"""One that nobody turns."""


SHORT_NS = 100 * NS_PER_MS
"""A grace time that ends before anything else does."""


def no_log(_: object) -> bool:
    """A log that takes everything."""
    return True


@contextlib.asynccontextmanager
async def outbox(
    folder: Path, config: WebhookConfig, clock: ManualClock
) -> AsyncIterator[tuple[SqliteStore, Outbox]]:
    """Open the store and the outbox of a folder."""
    path = folder / "x.sqlite3"
    async with SqliteStore(path) as store, Outbox(path, store, config, clock.clock()) as opened:
        yield store, opened


async def due(box: Outbox, *busy: Entry, limit: int = 100) -> list[Entry]:
    """What is to be sent now."""
    return list((await box.due(busy, limit)).entries)


async def take(store: SqliteStore, box: Outbox, *events: Event) -> None:
    """Store events and take them over."""
    await store.append(events)
    while await box.ingest(no_log):
        pass


@dataclass
class House:
    """Everything that delivers."""

    store: SqliteStore
    outbox: Outbox
    dispatcher: Dispatcher
    clock: ManualClock

    async def say(self, *events: Event) -> None:
        """Store events, as the recorder does."""
        await self.store.append(events)
        self.outbox.notify()

    async def drained(self) -> None:
        """Wait until nothing more happens by itself."""
        assert await self.dispatcher.drain(30 * NS_PER_S)

    async def later(self, seconds: float) -> None:
        """Let time go by, and wait until what became due was tried."""
        self.clock.now_ns += int(seconds * NS_PER_S)
        await self.drained()


@contextlib.asynccontextmanager
async def house(
    folder: Path,
    config: WebhookConfig,
    clock: ManualClock | None = None,
    whose: Callable[[str], Awaitable[Owner]] | None = None,
) -> AsyncIterator[House]:
    """Run everything in a folder; leaving it gives nothing a grace time."""
    clock = clock or ManualClock()
    config = replace(config, log_dir=folder / "log")
    async with (
        outbox(folder, config, clock) as (store, opened),
        Dispatcher(opened, config, clock.clock(), grace_ns=0, chance=lambda: MIDDLE, whose=whose) as dispatcher,
    ):
        yield House(store, opened, dispatcher, clock)
