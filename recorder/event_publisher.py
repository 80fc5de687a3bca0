"""Tells what no change of a recording or archive carries: who came, who went. What the store does not take is kept.

Events are told in their order: one that waits holds back those that come after it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from rokuga.recorder.events import Event
from rokuga.recorder.store import RecordingStore, StoreError

log = structlog.get_logger()

RETRY_S: Final = 1.0
"""Pause after which the store is asked again to keep what was not told yet."""

MAX_PENDING: Final = 10_000
"""So many events wait for the store; more are lost, with an error in the log."""


class EventPublisher:
    """Stores events, all that wait at a time; `committed` hears of those that the store took."""

    def __init__(self, store: RecordingStore, committed: Callable[[Sequence[Event]], None]) -> None:
        self._store = store
        self._committed = committed
        self._untold: dict[str, Event] = {}
        self._telling = asyncio.Lock()
        self._begun = self._ended = 0

    async def publish(self, event: Event) -> None:
        """Store an event that nothing else depends on; what the store does not take is told later, in this order."""
        try:
            msgspec.json.encode(event)
        except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:  # it would keep back all others for ever
            log.error("an event cannot be written", type=event.type, reason=str(error))
            return
        if len(self._untold) >= MAX_PENDING:
            log.error("an event is lost: too many cannot be stored", type=event.type)
            return
        self._untold[event.id] = event
        await self._publish_pending()

    async def run(self) -> None:
        """Tell from time to time what the store did not take; ends by cancellation."""
        while True:
            await asyncio.sleep(RETRY_S)
            if self._untold:
                await self._publish_pending()

    async def _publish_pending(self) -> None:
        """Return after the next try, whoever makes it: hundreds who leave at once are told in one or two."""
        wanted = self._begun + 1
        async with self._telling:
            if self._ended >= wanted:
                return
            self._begun += 1
            told = list(self._untold.values())
            try:
                await self._store.append(told)
            except StoreError as error:
                log.error("events cannot be stored yet", count=len(told), reason=str(error))
            else:
                for event in told:
                    del self._untold[event.id]
                self._committed(told)
            self._ended = self._begun
