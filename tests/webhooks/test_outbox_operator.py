"""What an operator does to waiting and dead entries, in the daemon or beside it."""

from pathlib import Path

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from tests.material import WALL_NS, event
from tests.webhooks.delivering import CLOCK, CONFIG, due, outbox, take


async def test_a_retried_dead_delivery_precedes_later_ones(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1), event(2))
        await box.settle([DeliveryResult(1, DeliveryState.DEAD, error="no")])
        box.reader.news.clear()
        assert await box.retry(event(1).id) == 1
        assert box.reader.news.is_set()
        assert [(entry.seq, entry.attempts) for entry in await due(box)] == [(1, 1)]


async def test_retry_makes_pending_and_dead_deliveries_due_and_leaves_delivered_ones(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1, "a"), event(1, "b"), event(1, "c"))
        await box.settle(
            [
                DeliveryResult(1, DeliveryState.DEAD),
                DeliveryResult(2, DeliveryState.PENDING, WALL_NS + NS_PER_S),
                DeliveryResult(3, DeliveryState.DELIVERED),
            ]
        )
        assert await box.retry() == 2
        assert [entry.seq for entry in await due(box)] == [1, 2]
        assert await box.retry(event(1, "c").id) == 0
        assert await box.retry("nobody") == 0


async def test_a_dropped_delivery_is_deleted_and_unblocks_its_connection(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1), event(2))
        assert await box.drop(event(1).id) == 1
        assert await box.drop(event(1).id) == 0
        assert [entry.event_id for entry in await due(box)] == [event(2).id]
        await box.settle([DeliveryResult(1, DeliveryState.DELIVERED)])
        assert await box.counts() == {"pending": 1}


async def test_another_process_reads_and_changes_the_same_deliveries(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event())
        await box.settle([DeliveryResult(1, DeliveryState.DEAD, error="no")])
        async with outbox(tmp_path, CONFIG, CLOCK) as (_, other):
            assert await other.retry() == 1
        assert len(await due(box)) == 1
