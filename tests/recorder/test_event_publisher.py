"""Who came and who went is stored in its order, and together where many come or go at once."""

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
class HandStore:
    """A store that takes what it is told when the test says so, or refuses it."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    is_down: bool = False
    asked: list[list[str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    async def append(self, events: Sequence[Event]) -> None:
        """Keep events."""
        self.asked.append([event.id for event in events])
        await self.may_go_on.wait()
        if self.is_down:
            raise StoreError("down")
        self.kept += self.asked[-1]


def event(number: int) -> Event:
    return Event(str(number), EventType.CONNECTION_DESTROYED, number, "sora", {})


async def told(store: Any, committed: list[str]) -> EventPublisher:
    """Tell many events at once; let the store go on when all wait."""
    event_publisher = EventPublisher(
        store, lambda events: committed.extend(event.id for event in events), FakeClock().clock()
    )
    telling = [asyncio.create_task(event_publisher.publish(event(number))) for number in range(COUNT)]
    for _ in range(3):
        await asyncio.sleep(0)
    store.may_go_on.set()
    await asyncio.gather(*telling)
    return event_publisher


async def test_concurrent_events_are_appended_together() -> None:
    """Each event is handed to the store once, and all are kept when `tell` returns."""
    store, committed = HandStore(), list[str]()
    await told(store, committed)
    assert [len(asked) for asked in store.asked] == [1, COUNT - 1]
    assert store.kept == committed == [str(number) for number in range(COUNT)]


async def test_concurrent_events_share_the_attempts_of_a_store_that_is_down() -> None:
    """Nobody waits for more than the try under way and one more; later all are told, in their order."""
    store, committed = HandStore(is_down=True), list[str]()
    event_publisher = await told(store, committed)
    assert [len(asked) for asked in store.asked] == [1, COUNT]
    assert not committed
    store.is_down = False
    await event_publisher.publish(event(COUNT))
    assert store.kept == committed == [str(number) for number in range(COUNT + 1)]
