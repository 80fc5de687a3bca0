"""Appends the events of connections to the store's log. Events that the store does not accept are kept in memory.

They are appended in their order: an event that waits holds back those after it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.retry import RetryPolicy, retry
from rokuga.recorder.store import RecordingStore, StoreError

log = structlog.get_logger()

RETRY: Final = RetryPolicy((StoreError,), first_pause_s=1.0)

MAX_PENDING: Final = 10_000
"""Events that wait for the store; more are lost, with an error in the log."""


class EventPublisher:
    """Appends all pending events together; `on_committed` is called with those that the store has committed."""

    def __init__(self, store: RecordingStore, on_committed: Callable[[Sequence[Event]], None], clock: Clock) -> None:
        self._store = store
        self._on_committed = on_committed
        self._clock = clock
        self._pending: dict[str, Event] = {}
        self._appending = asyncio.Lock()
        self._begun = self._ended = 0
        self._error: StoreError | None = None
        self._failed = asyncio.Event()

    async def publish(self, event: Event) -> None:
        """Append an event that belongs to no recording. Return after one attempt; `run` makes the further ones."""
        try:
            msgspec.json.encode(event)
        except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:  # it would hold back all others for ever
            log.error("event dropped: it cannot be encoded", type=event.type, reason=str(error))
            return
        if len(self._pending) >= MAX_PENDING:
            log.error("event dropped: too many wait for the store", type=event.type)
            return
        self._pending[event.id] = event
        await self._append_pending()

    async def run(self) -> None:
        """Retry what the store did not accept; ends by cancellation."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            await retry(self._append_or_raise, RETRY, self._clock, name="append events")

    async def _append_or_raise(self) -> None:
        await self._append_pending()
        if self._error is not None:
            raise self._error

    async def _append_pending(self) -> None:
        """Return after the next attempt, whoever makes it: hundreds of events at once need one or two."""
        awaited = self._begun + 1
        async with self._appending:
            if self._ended >= awaited:
                return
            self._begun += 1
            events = list(self._pending.values())
            try:
                if events:
                    await self._store.append(events)
            except StoreError as error:
                self._error = error
                self._failed.set()
            else:
                self._error = None
                for event in events:
                    del self._pending[event.id]
                self._on_committed(events)
            self._ended = self._begun
