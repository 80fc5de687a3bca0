"""The task that delivers comes to its end in time, whatever happens in that moment, and leaves nothing it."""

import asyncio
from pathlib import Path

import pytest

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import webhook_consumer
from rokuga.webhooks.dispatcher import Dispatcher
from tests.material import ManualClock, event
from tests.webhooks.consumer import consuming, hanging, scripted
from tests.webhooks.delivering import SHORT_NS, delivering, outbox

HOUR_NS = 3600 * NS_PER_S


async def test_the_end_waits_for_what_is_due_and_not_for_what_is_due_later(tmp_path: Path) -> None:
    async with (
        consuming(scripted(500, 200)) as consumer,
        delivering(tmp_path, WebhookConfig(url=consumer.url)) as it,
    ):
        await it.append(event(1, "refused"))
        await it.drained()
        await it.append(*(event(n) for n in range(20)))
        assert await it.dispatcher.drain(30 * NS_PER_S)
        assert await it.outbox.counts() == {"delivered": 20, "pending": 1}


@pytest.mark.parametrize("turns", range(6))
async def test_the_task_ends_although_it_is_notified_in_the_same_iteration_of_the_loop(
    tmp_path: Path, turns: int
) -> None:
    """Where a wait loses its cancellation because it is over just then, the end would never come."""
    async with delivering(tmp_path, WebhookConfig()) as it:
        await it.drained()
        for _ in range(100):  # let it go to sleep
            await asyncio.sleep(0)
        it.outbox.notify()
        for _ in range(turns):
            await asyncio.sleep(0)
        it.dispatcher._running.cancel()
        await asyncio.wait([it.dispatcher._running])


async def test_the_grace_time_ends(tmp_path: Path) -> None:
    never = asyncio.Event()
    async with consuming(hanging(never)) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.append(event())
            await consumer.wait(1)
            assert not await it.dispatcher.drain(SHORT_NS)
        never.set()
        async with delivering(tmp_path, WebhookConfig(url=consumer.url)) as it:
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 1}
    assert len({post.body for post in consumer.posts}) == 1


async def test_being_cancelled_at_the_end_leaves_no_task(tmp_path: Path) -> None:
    """A second SIGTERM cancels the waiting for the grace time."""
    never = asyncio.Event()
    async with consuming(hanging(never)) as consumer:
        config = WebhookConfig(url=consumer.url, log_dir=tmp_path / "log")

        async def live() -> None:
            clock = ManualClock()
            async with outbox(tmp_path, config, clock) as (store, opened):
                await store.append([event()])
                async with Dispatcher(
                    opened, webhook_consumer(config), config, clock.clock(), grace_ns=3600 * NS_PER_S
                ):
                    await consumer.wait(1)

        life = asyncio.create_task(live())
        await consumer.wait(1)
        await asyncio.sleep(0)
        life.cancel()
        await asyncio.wait([life])
        assert life.cancelled()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "webhook dispatcher"]
        never.set()
