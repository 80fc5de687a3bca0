"""Events of connections are appended in their order, concurrent ones together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rokuga.recorder.event_publisher import EventPublisher
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.store import StoreError
from tests.support.clock import FakeClock

COUNT = 100


@dataclass
class PausedStore:
    """A store that accepts or refuses events when the test lets it."""

    resumed: asyncio.Event = field(default_factory=asyncio.Event)
    is_down: bool = False
    attempts: list[list[str]] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    async def append(self, events: Sequence[Event]) -> None:
        """Keep events."""
        self.attempts.append([event.id for event in events])
        await self.resumed.wait()
        if self.is_down:
            raise StoreError("down")
        self.stored += self.attempts[-1]


def event(number: int) -> Event:
    return Event(str(number), EventType.CONNECTION_DESTROYED, number, "sora", {})


async def published(store: Any, committed: list[str]) -> EventPublisher:
    """Publish many events concurrently; resume the store when all wait."""
    event_publisher = EventPublisher(
        store, lambda events: committed.extend(event.id for event in events), FakeClock().clock()
    )
    publishing = [asyncio.create_task(event_publisher.publish(event(number))) for number in range(COUNT)]
    for _ in range(3):
        await asyncio.sleep(0)
    store.resumed.set()
    await asyncio.gather(*publishing)
    return event_publisher


async def test_concurrent_events_are_appended_together() -> None:
    """Each event is passed to the store once, and is stored when `publish` returns."""
    store, committed = PausedStore(), list[str]()
    await published(store, committed)
    assert [len(attempt) for attempt in store.attempts] == [1, COUNT - 1]
    assert store.stored == committed == [str(number) for number in range(COUNT)]


async def test_concurrent_events_share_the_attempts_of_a_store_that_is_down() -> None:
    """No call waits for more than the current attempt and one more; later all events are appended in their order."""
    store, committed = PausedStore(is_down=True), list[str]()
    event_publisher = await published(store, committed)
    assert [len(attempt) for attempt in store.attempts] == [1, COUNT]
    assert not committed
    store.is_down = False
    await event_publisher.publish(event(COUNT))
    assert store.stored == committed == [str(number) for number in range(COUNT + 1)]
