"""A store, an outbox and a dispatcher over a real file."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.delivery import DEFAULT, EVENT_WEBHOOK, Delivery, DestinationKey
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.ingest import Ingest
from rokuga.webhooks.outbox import EventLog, Outbox
from rokuga.webhooks.ownership import OwnerOf
from tests.material import ManualClock

MIDDLE = 0.5
"""The random number that leaves the pauses as they are in the table."""

CONFIG = WebhookConfig(url="http://127.0.0.1:1/", version="1")
CLOCK = ManualClock()
"""A clock that stands still."""

SHORT_NS = 100 * NS_PER_MS
"""A grace time that ends before anything else does."""

KEY = DestinationKey(EVENT_WEBHOOK, DEFAULT)

WriteLog = Callable[[Sequence[bytes]], bool]


def no_log(_: Sequence[bytes]) -> bool:
    """Write nothing, successfully."""
    return True


@dataclass
class FakeLog:
    """A consumer's log that calls a function."""

    write: WriteLog = no_log
    refused_lines: int = 0

    def events(self, bodies: Sequence[bytes]) -> bool:
        """Call the function."""
        return self.write(bodies)

    def failure(self, delivery: Delivery, reason: str, wall_ns: int, next_wall_ns: int | None) -> None:
        """Do nothing."""


class IngestingOutbox(Outbox):
    """An outbox that can be filled without a dispatcher."""

    def __init__(self, path: Path, events: EventLog, config: WebhookConfig, clock: Clock) -> None:
        super().__init__(path, events, config, clock)
        self._fake_log = FakeLog()
        consumer = replace(webhook_consumer(config), log=self._fake_log)
        self.reader = Ingest(self, consumer, clock)

    async def ingest(self, write_log: WriteLog = no_log) -> int:
        """Ingest the next events of the event webhook; return how many there were."""
        self._fake_log.write = write_log
        return await self.reader.run_once()


@contextlib.asynccontextmanager
async def outbox(
    folder: Path, config: WebhookConfig, clock: ManualClock
) -> AsyncIterator[tuple[SqliteStore, IngestingOutbox]]:
    """Open the store and the outbox of a folder."""
    path = folder / "x.sqlite3"
    async with SqliteStore(path) as store, IngestingOutbox(path, store, config, clock.clock()) as opened:
        yield store, opened


async def due(box: Outbox, *busy: Delivery, limit: int = 100, key: DestinationKey = KEY) -> list[Delivery]:
    """Return what is due now."""
    return list((await box.due(key, busy, limit)).deliveries)


async def take(store: SqliteStore, box: IngestingOutbox, *events: Event) -> None:
    """Store events and ingest them."""
    await store.append(events)
    while await box.ingest():
        pass


@dataclass
class Delivering:
    """A dispatcher that runs, and all that it works with."""

    store: SqliteStore
    outbox: Outbox
    dispatcher: Dispatcher
    clock: ManualClock

    async def append(self, *events: Event) -> None:
        """Store events, as the recorder does."""
        await self.store.append(events)
        self.outbox.notify()

    async def drained(self) -> None:
        """Wait until nothing more happens by itself."""
        assert await self.dispatcher.drain(30 * NS_PER_S)

    async def later(self, seconds: float) -> None:
        """Let time pass, and wait until what became due was attempted."""
        self.clock.now_ns += int(seconds * NS_PER_S)
        await self.drained()


@contextlib.asynccontextmanager
async def delivering(
    folder: Path,
    config: WebhookConfig,
    clock: ManualClock | None = None,
    owner_of: OwnerOf | None = None,
) -> AsyncIterator[Delivering]:
    """Run a dispatcher in a folder; leaving the context allows no grace time."""
    clock = clock or ManualClock()
    config = replace(config, log_dir=folder / "log")
    async with (
        outbox(folder, config, clock) as (store, opened),
        Dispatcher(
            opened,
            webhook_consumer(config),
            config,
            clock.clock(),
            grace_ns=0,
            chance=lambda: MIDDLE,
            owner_of=owner_of,
        ) as dispatcher,
    ):
        yield Delivering(store, opened, dispatcher, clock)
