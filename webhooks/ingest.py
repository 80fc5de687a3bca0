"""Reading of the event log by one consumer: new events become deliveries, one for each destination."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.clock import Clock
from rokuga.recorder.store import StoredEvent
from rokuga.webhooks.consumer import Consumer
from rokuga.webhooks.delivery import DeliveryState, DestinationKey
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.rows import NewRow, new_row

INGEST_LIMIT: Final = 500
"""Events that are read at a time, and inserted in one transaction."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of some events, and the cursor behind them."""

    cursor: int
    rows: Sequence[NewRow]
    events: int


class Ingest:
    """Reads the event log. `is_behind`: there may be more to read; then `news` is set, too.

    The cursor moves in the transaction that inserts the deliveries: a crash neither loses nor doubles one.
    """

    def __init__(self, outbox: Outbox, consumer: Consumer, clock: Clock) -> None:
        self._outbox = outbox
        self._consumer = consumer
        self._clock = clock
        self._prepared: _Batch | None = None
        self.news = asyncio.Event()
        self.notify()
        outbox.subscribe(self.notify)

    def notify(self) -> None:
        """Note that there may be something new."""
        self.is_behind = True
        self.news.set()

    async def run_once(self) -> int:
        """Ingest the next events; return how many there were. Raises StoreError.

        What could not be inserted is kept and inserted by the next call, so that the log has each event once.
        """
        if self._prepared is None:
            self.is_behind = False
            cursor = self._outbox.cursor_of(self._consumer.name)
            stored = await self._outbox.events.events_after(cursor, INGEST_LIMIT)
            if not stored:
                return 0
            self._prepared = await asyncio.to_thread(self._prepare, stored)
        batch = self._prepared
        self.notify()  # there may be more, and these again if they cannot be inserted now
        await self._outbox.insert(self._consumer.name, batch.rows, batch.cursor)
        self._prepared = None
        await self._outbox.prune_log()
        return batch.events

    def _prepare(self, stored: Sequence[StoredEvent]) -> _Batch:
        consumer, wall_ns, uptime_ns = self._consumer, self._clock.wall_ns(), self._outbox.uptime_ns
        bodies = [consumer.make_body(each.event, True) for each in stored]
        if not consumer.log.events(bodies):
            bodies = [consumer.make_body(each.event, False) for each in stored]
        rows = [
            new_row(
                each.event,
                DestinationKey(consumer.name, destination.name),
                body,
                wall_ns,
                uptime_ns,
                DeliveryState.PENDING if destination.is_enabled else DeliveryState.SKIPPED,
            )
            for each, body in zip(stored, bodies, strict=True)
            for destination in consumer.destinations
        ]
        return _Batch(stored[-1].cursor, rows, len(stored))
