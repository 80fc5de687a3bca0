"""The outbox: every event of the event log, once for each destination, until it is delivered or given up.

The database is the queue; there is no other. Only deliveries that are not blocked by an earlier one (`order.py`) are
ever due. Ages are measured in the time for which the outbox has been in use, which the database keeps: setting the
wall clock ends nothing.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import EventType
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import REQUEST_TIMEOUT_S, StoredEvent
from rokuga.recorder.store.database import Database
from rokuga.webhooks import delivery_table, queries
from rokuga.webhooks.blocking import read_due
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import EVENT_WEBHOOK, Delivery, DeliveryResult, DeliveryState, DestinationKey, Due
from rokuga.webhooks.retention import Retention
from rokuga.webhooks.retry_policy import MAX_PAUSE_NS
from rokuga.webhooks.rows import NewRow

log = structlog.get_logger()

SCHEMAS: Final = ("schema.sql", "schema-2.sql", "schema-3.sql", "schema-4.sql")

PRUNE_LOG_AFTER: Final = 1000
"""The event log is pruned when every consumer has read so many more events."""

MIN_STEP_NS: Final = NS_PER_S
"""By how much the wall clock and the monotonic clock have to differ for the wall clock to have been set."""


class EventLog(Protocol):
    """The event log of the store."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Return the next events after `cursor`."""
        ...

    async def prune_events(self, cursor: int) -> None:
        """Delete the events up to `cursor`."""
        ...


class Outbox:
    """The deliveries of all consumers; a context, since it has the database open. All methods raise StoreError.

    `consumers` are the names of those that read the event log: it is pruned by the slowest of them. Cursors of
    other names are kept in the database, and ignored when it is pruned. `settled` is set when deliveries were
    inserted or settled.
    """

    def __init__(
        self,
        path: Path,
        events: EventLog,
        config: WebhookConfig,
        clock: Clock,
        consumers: Sequence[str] = (EVENT_WEBHOOK,),
    ) -> None:
        here = resources.files("rokuga.webhooks")
        scripts = [here.joinpath(name).read_text("utf-8") for name in SCHEMAS]
        self._database = Database(path, "outbox", scripts)
        self._config = config
        self._clock = clock
        self._cursors = dict.fromkeys(consumers, 0)
        self._pruned_cursor = 0
        self._retention = Retention(config)
        self._uptime_at_zero_ns = 0
        self._wall_at_zero_ns = clock.wall_ns() - clock.monotonic_ns()
        self._subscribers: list[Callable[[], None]] = []
        self.events = events
        self.settled = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        try:
            cursors = await self._database.read(queries.read_cursors)
            uptime_ns = await self._database.read(queries.read_uptime_ns)
        except BaseException:
            await self._database.__aexit__(None, None, None)
            raise
        self._cursors = {name: cursors.get(name, 0) for name in self._cursors}
        self._uptime_at_zero_ns = uptime_ns - self._clock.monotonic_ns()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    @property
    def uptime_ns(self) -> int:
        """For how long the outbox has been in use, by this process and those before it."""
        return self._uptime_at_zero_ns + self._clock.monotonic_ns()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever there may be new events, or an operator changed deliveries."""
        self._subscribers.append(callback)

    def notify(self) -> None:
        """Call all subscribers: there may be something new."""
        for callback in self._subscribers:
            callback()

    def cursor_of(self, consumer: str) -> int:
        """Return how far a consumer has read the event log."""
        return self._cursors[consumer]

    async def insert(self, consumer: str, rows: Sequence[NewRow], cursor: int) -> None:
        """Insert deliveries and move their consumer's cursor behind their events, in one transaction."""
        uptime_ns = self.uptime_ns

        def write(connection: sqlite3.Connection) -> int:
            skipped_bytes = delivery_table.insert(connection, rows)
            delivery_table.store_cursor(connection, consumer, cursor)
            self._retention.prune_delivered(connection)
            self._retention.prune_by_size(connection, skipped_bytes)
            delivery_table.store_uptime(connection, uptime_ns)
            return self._retention.prune_old(connection, uptime_ns)

        _log_pruned(await self._database.transact(write))
        self._cursors[consumer] = cursor
        self.settled.set()

    async def prune_log(self) -> None:
        """Delete the events that every consumer has read from the event log, if they are many."""
        slowest = min(self._cursors.values())
        if slowest - self._pruned_cursor >= PRUNE_LOG_AFTER:
            await self.events.prune_events(slowest)
            self._pruned_cursor = slowest

    async def due(self, key: DestinationKey, busy: Collection[Delivery], limit: int) -> Due:
        """Return up to `limit` deliveries to a destination that are due and not `busy`, the oldest first.

        A channel may have a quarter of all that may be in flight, so that a destination that is slow with it does not
        delay other channels. A delivery that is due later than any pause lasts was postponed before the wall clock
        was set back: it is due.
        """
        await self._follow_clock()
        now_ns, channel_limit = self._clock.wall_ns(), max(self._config.max_in_flight // 4, 1)
        return await self._database.read(
            lambda connection: read_due(connection, key, busy, limit, channel_limit, now_ns, now_ns + MAX_PAUSE_NS)
        )

    async def _follow_clock(self) -> None:
        """Shift all due times where the wall clock was set, so that pauses last as long as they should."""
        step_ns = self._clock.wall_ns() - self._clock.monotonic_ns() - self._wall_at_zero_ns
        if abs(step_ns) >= MIN_STEP_NS:
            await self._database.transact(lambda connection: delivery_table.shift_due(connection, step_ns))
            self._wall_at_zero_ns += step_ns

    async def settle(self, results: Sequence[DeliveryResult]) -> None:
        """Store the results of attempts in one transaction."""
        uptime_ns = self.uptime_ns

        def write(connection: sqlite3.Connection) -> int:
            self._retention.prune_by_size(connection, delivery_table.settle(connection, results))
            delivery_table.store_uptime(connection, uptime_ns)
            return self._retention.prune_surplus(connection, [each.state for each in results])

        _log_pruned(await self._database.transact(write))
        self.settled.set()

    async def parked_to_try(self, key: DestinationKey) -> Sequence[Delivery]:
        """Return a parked delivery of each type, that with the fewest attempts; make dead those that are too old."""
        oldest_uptime_ns = self.uptime_ns - self._config.max_age_ns

        def choose(connection: sqlite3.Connection) -> tuple[int, Sequence[Delivery]]:
            dead = delivery_table.give_up_parked(connection, oldest_uptime_ns)
            pruned = self._retention.prune_surplus(connection, [DeliveryState.DEAD] * dead)
            chosen = (delivery_table.parked_of_type(connection, key, each) for each in EventType)
            return pruned, [delivery for delivery in chosen if delivery is not None]

        pruned, deliveries = await self._database.transact(choose)
        _log_pruned(pruned)
        return deliveries

    async def unpark(self, key: DestinationKey, event_type: str, limit: int) -> int:
        """Make up to `limit` parked deliveries of a type pending again; return how many there were."""
        return await self._database.transact(
            lambda connection: delivery_table.unpark(connection, key, event_type, limit)
        )

    async def make_due(self, key: DestinationKey, limit: int = -1) -> int:
        """Make deliveries due that wait because their destination was away, all or the oldest; return how many."""
        now_ns = self._clock.wall_ns()
        return await self._database.transact(
            lambda connection: delivery_table.make_due(connection, key, now_ns, limit)
        )

    async def settled_of(self, event_ids: Sequence[str]) -> Sequence[str]:
        """Return those of some events of which no delivery is pending."""
        return await self._database.read(lambda connection: queries.settled_of(connection, event_ids))

    async def deliveries(self, state: DeliveryState | None = None, limit: int = 100) -> Sequence[Delivery]:
        """Return the newest deliveries, of one state or all."""
        return await self._database.read(lambda connection: queries.newest(connection, state, limit))

    async def delivery(self, event_id: str) -> Delivery | None:
        """Return a delivery of an event: one that is not settled, if there is any."""
        return await self._database.read(lambda connection: queries.of_event(connection, event_id))

    async def retry(self, event_id: str | None = None) -> int:
        """Make pending, parked and dead deliveries due now, of one event or all; return how many there were."""
        if event_id is None:
            return await self._change(delivery_table.retry_all)
        return await self._change(lambda connection: delivery_table.retry_one(connection, event_id))

    async def drop(self, event_id: str) -> int:
        """Delete the deliveries of an event that are pending, parked or dead; return how many there were."""
        return await self._change(lambda connection: delivery_table.drop(connection, event_id))

    async def counts(self) -> dict[str, int]:
        """Return the number of deliveries by their state."""
        return await self._database.read(queries.counts)

    async def counters(self) -> dict[str, int]:
        """Return the outbox's numbers by their metric names."""
        return await self._database.read(lambda connection: queries.counters(connection, self.uptime_ns))

    async def probe(self) -> None:
        """Write to the disk; wait as long as the database is stuck.

        `user_version`, which nothing else uses, is changed each time: SQLite does not write an unchanged page.
        """

        def write(connection: sqlite3.Connection) -> None:
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {number ^ 1}")
            delivery_table.store_uptime(connection, self.uptime_ns)

        await self._database.transact(write)

    async def _change(self, work: Callable[[sqlite3.Connection], int]) -> int:
        changed = await self._database.transact(work, within_s=REQUEST_TIMEOUT_S)
        self.notify()
        return changed


def _log_pruned(count: int) -> None:
    if count:
        log.warning("dead or parked events deleted, too old or too many", count=count)
