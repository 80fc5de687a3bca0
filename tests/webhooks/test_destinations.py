"""Several destinations of a consumer, and several consumers of the event log: none of them delays another one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rokuga.recorder.store import Owner
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import Consumer, Destination, webhook_consumer
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState, DestinationKey
from rokuga.webhooks.dispatcher import Dispatcher
from rokuga.webhooks.ingest import Ingest
from rokuga.webhooks.outbox import PRUNE_LOG_AFTER, Outbox
from rokuga.webhooks.ownership import OwnerOf
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import Delivered, Outcome
from tests.material import REPORT, ManualClock, event
from tests.webhooks.consumer import consuming, hanging, scripted
from tests.webhooks.delivering import CLOCK, CONFIG, KEY, MIDDLE, Delivering, FakeLog, due

SECOND = DestinationKey("webhooks", "second")


def two_destinations(config: WebhookConfig, second_url: str) -> Consumer:
    """Return the event webhook with a second URL."""
    consumer = webhook_consumer(config)
    second = Destination("second", Poster(config, second_url))
    return replace(consumer, destinations=[*consumer.destinations, second], log=FakeLog())


@contextlib.asynccontextmanager
async def delivering_to_two(
    folder: Path, config: WebhookConfig, second_url: str, owner_of: OwnerOf | None = None
) -> AsyncIterator[Delivering]:
    """Run a dispatcher with two URLs."""
    path, clock = folder / "x.sqlite3", ManualClock()
    consumer = two_destinations(config, second_url)
    async with (
        SqliteStore(path) as store,
        Outbox(path, store, config, clock.clock()) as outbox,
        Dispatcher(
            outbox, consumer, config, clock.clock(), grace_ns=0, chance=lambda: MIDDLE, owner_of=owner_of
        ) as dispatcher,
    ):
        yield Delivering(store, outbox, dispatcher, clock)


async def test_each_event_is_delivered_to_each_destination_in_order(tmp_path: Path) -> None:
    async with consuming() as one, consuming() as other:
        async with delivering_to_two(tmp_path, WebhookConfig(url=one.url), other.url) as it:
            await it.append(*(event(n, f"channel {n % 3}") for n in range(12)))
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 24}
            assert it.dispatcher.delivered == 24
    for consumer in (one, other):
        for channel in range(3):
            assert [post.number for post in consumer.of(f"channel {channel}")] == list(range(channel, 12, 3))
    assert {post.body for post in one.posts} == {post.body for post in other.posts}


async def test_a_destination_that_refuses_delays_no_other_one(tmp_path: Path) -> None:
    """Not while it is retried, and not once its deliveries are parked."""
    async with consuming(scripted(404)) as refusing, consuming() as other:
        async with delivering_to_two(tmp_path, WebhookConfig(url=refusing.url), other.url) as it:
            await it.append(event(1), event(2), event(3))
            await it.drained()
            assert [post.number for post in other.posts] == [1, 2, 3]
            assert [post.number for post in refusing.posts] == [1]
            assert await it.outbox.counts() == {"pending": 3, "delivered": 3}
            for pause_s in (1, 5, 1, 5, 1, 5):
                await it.later(pause_s)
            assert await it.outbox.counts() == {"parked": 3, "delivered": 3}


async def test_a_destination_that_hangs_delays_no_other_one(tmp_path: Path) -> None:
    """It has as many deliveries in flight as are allowed; the other one has as many of its own."""
    never = asyncio.Event()
    async with consuming(hanging(never)) as slow, consuming() as other:
        async with delivering_to_two(tmp_path, WebhookConfig(url=slow.url, max_in_flight=2), other.url) as it:
            await it.append(*(event(n, f"channel {n}") for n in range(10)))
            await other.wait(10)
            assert len(await slow.wait(2)) == 2
            never.set()
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 20}


async def test_a_destination_that_comes_back_does_not_hurry_another_one(tmp_path: Path) -> None:
    """What waited for it is sent at once; what waits for the other one waits out its pause of 5 s."""
    async with consuming(scripted(503, 503, 200)) as returning, consuming(scripted(503)) as away:
        async with delivering_to_two(tmp_path, WebhookConfig(url=returning.url), away.url) as it:
            await it.append(event(1))
            await it.drained()
            await it.later(1)
            await it.append(event(2, "another"))
            await it.drained()
            assert [post.number for post in returning.posts] == [1, 1, 2, 1]
            assert [post.number for post in away.posts] == [1, 1, 2]
            await it.later(5)
            assert [post.number for post in away.posts[3:]] in ([1, 2], [2, 1])


async def test_rules_of_order_are_those_of_each_destination(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with SqliteStore(path) as store, Outbox(path, store, CONFIG, CLOCK.clock()) as box:
        await store.append([event(1), event(2)])
        assert await Ingest(box, two_destinations(CONFIG, "http://x/"), CLOCK.clock()).run_once() == 2
        assert [delivery.seq for delivery in await due(box)] == [1]
        assert [delivery.seq for delivery in await due(box, key=SECOND)] == [2]
        await box.settle([DeliveryResult(1, DeliveryState.DELIVERED)])
        assert [delivery.seq for delivery in await due(box)] == [3]
        assert [delivery.seq for delivery in await due(box, key=SECOND)] == [2]


async def test_what_is_retried_dropped_or_settled_by_its_event_is_so_for_all_destinations(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with SqliteStore(path) as store, Outbox(path, store, CONFIG, CLOCK.clock()) as box:
        await store.append([event(1)])
        await Ingest(box, two_destinations(CONFIG, "http://x/"), CLOCK.clock()).run_once()
        await box.settle([DeliveryResult(1, DeliveryState.DELIVERED), DeliveryResult(2, DeliveryState.DEAD)])
        assert list(await box.settled_of([event(1).id, "unknown"])) == [event(1).id]
        found = await box.delivery(event(1).id)
        assert found is not None
        assert (found.seq, found.destination_key) == (2, SECOND)
        assert await box.retry(event(1).id) == 1
        assert list(await box.settled_of([event(1).id])) == []
        assert await box.drop(event(1).id) == 1
        assert await box.counts() == {"delivered": 1}


async def test_a_cluster_singleton_of_another_node_goes_to_no_destination(tmp_path: Path) -> None:
    async def owner_of(_event_id: str) -> Owner:
        return Owner.NOBODY

    async with consuming() as one, consuming() as other:
        async with delivering_to_two(tmp_path, WebhookConfig(url=one.url), other.url, owner_of) as it:
            await it.append(REPORT)
            await it.drained()
            assert await it.outbox.counts() == {"unsent": 2}
        assert not one.posts + other.posts


@dataclass
class FakeSender:
    """Delivers to a list."""

    received: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def send(self, delivery: Delivery, now_wall_ns: int) -> Outcome:
        """Append a delivery."""
        self.received.append(delivery.event_id)
        return Delivered(200)


def uploads(sender: FakeSender) -> Consumer:
    """Return another consumer of the event log."""
    return Consumer("uploads", [Destination("bucket", sender)], lambda event, _: event.id.encode(), FakeLog())


async def test_two_consumers_read_the_event_log_each_by_its_own_cursor(tmp_path: Path) -> None:
    """And what one of them leaves unread is kept for it, over a restart."""
    path, clock, sender = tmp_path / "x.sqlite3", ManualClock().clock(), FakeSender()
    names = ("webhooks", "uploads")
    events = [event(n) for n in range(PRUNE_LOG_AFTER + 5)]
    async with consuming() as consumer:
        config = WebhookConfig(url=consumer.url, log_dir=tmp_path)
        async with SqliteStore(path) as store, Outbox(path, store, config, clock, names) as box:
            await store.append(events)
            reader = Ingest(box, replace(webhook_consumer(config), log=FakeLog()), clock)
            while await reader.run_once():
                pass
            assert (box.cursor_of("webhooks"), box.cursor_of("uploads")) == (len(events), 0)
            assert len(await store.events_after(0, 5)) == 5
        async with SqliteStore(path) as store, Outbox(path, store, config, clock, names) as box:
            assert (box.cursor_of("webhooks"), box.cursor_of("uploads")) == (len(events), 0)
            async with Dispatcher(box, uploads(sender), config, clock, grace_ns=0) as dispatcher:
                assert await dispatcher.drain(30 * 10**9)
            assert sender.received == [each.id for each in events]
            assert len(await store.events_after(0, 5000)) < len(events)
            assert await due(box, limit=5, key=KEY)
        assert not consumer.posts


async def test_a_cursor_of_a_consumer_that_is_not_there_any_more_holds_nothing_back(tmp_path: Path) -> None:
    path, clock, sender = tmp_path / "x.sqlite3", ManualClock().clock(), FakeSender()

    async def ingest_all(names: Sequence[str], consumer: Consumer) -> int:
        async with SqliteStore(path) as store, Outbox(path, store, CONFIG, clock, names) as box:
            reader = Ingest(box, consumer, clock)
            while await reader.run_once():
                pass
            return len(await store.events_after(0, 10_000))

    async with SqliteStore(path) as store:
        await store.append([event(0)])
    assert await ingest_all(["webhooks", "uploads"], uploads(sender)) == 1
    async with SqliteStore(path) as store:
        await store.append([event(n) for n in range(1, PRUNE_LOG_AFTER)])
    assert await ingest_all(["webhooks"], replace(webhook_consumer(CONFIG), log=FakeLog())) == 0
