"""How old an event is does not depend on the wall clock, but on for how long it was tried."""

from pathlib import Path

import pytest

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from tests.material import WALL_NS, ManualClock, event
from tests.webhooks.consumer import consuming, scripted
from tests.webhooks.delivering import CONFIG, delivering, due, outbox, take

HOUR_NS = 3600 * NS_PER_S


@pytest.mark.parametrize("before_hours", [0, -24 * 365 * 50])
async def test_setting_the_wall_clock_a_day_ahead_makes_nothing_dead(tmp_path: Path, before_hours: int) -> None:
    """By hand, or by NTP after a start in 1970."""
    clock = ManualClock(wall_offset_ns=before_hours * HOUR_NS)
    async with consuming(scripted(500, 500, 200)) as consumer:
        async with delivering(tmp_path, WebhookConfig(url=consumer.url), clock) as it:
            await it.append(event())
            await it.drained()
            clock.wall_offset_ns = 25 * HOUR_NS
            await it.later(1)
            assert await it.outbox.counts() == {"pending": 1}
            await it.later(5)
            assert await it.outbox.counts() == {"delivered": 1}


@pytest.mark.parametrize("step_ns", [25 * HOUR_NS, HOUR_NS // 2, -HOUR_NS // 2, -25 * HOUR_NS])
async def test_a_pause_has_its_length_although_the_wall_clock_is_set(tmp_path: Path, step_ns: int) -> None:
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (store, box):
        await take(store, box, event())
        await box.settle([DeliveryResult(1, DeliveryState.PENDING, WALL_NS + 30 * NS_PER_S)])
        clock.wall_offset_ns = step_ns
        clock.now_ns += 30 * NS_PER_S - 1
        assert await due(box) == []
        clock.now_ns += 1
        assert [entry.seq for entry in await due(box)] == [1]


async def test_the_age_of_a_delivery_is_the_uptime_over_all_restarts(tmp_path: Path) -> None:
    """The time in which nothing was tried does not count, nor what the clock was set by meanwhile."""
    config = WebhookConfig(max_age_ns=10 * HOUR_NS)
    async with consuming(scripted(500)) as consumer:
        config = WebhookConfig(url=consumer.url, max_age_ns=10 * HOUR_NS)
        clock = ManualClock()
        async with delivering(tmp_path, config, clock) as it:
            await it.append(event())
            await it.drained()
            for _ in range(4):
                await it.later(3600)
        clock.now_ns += 1000 * HOUR_NS
        clock.wall_offset_ns = -500 * HOUR_NS
        async with delivering(tmp_path, config, clock) as it:
            for _ in range(4):
                await it.later(3600)
            assert await it.outbox.counts() == {"pending": 1}
            for _ in range(2):
                await it.later(3600)
            assert await it.outbox.counts() == {"dead": 1}


async def test_a_probe_stores_the_uptime(tmp_path: Path) -> None:
    """Each second, in a daemon: a crash loses no more of it."""
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (_, box):
        clock.now_ns += HOUR_NS
        await box.probe()
        clock.now_ns += HOUR_NS
    clock.now_ns += HOUR_NS
    async with outbox(tmp_path, CONFIG, clock) as (_, box):
        assert box.uptime_ns == HOUR_NS


async def test_setting_the_wall_clock_prunes_no_dead_delivery(tmp_path: Path) -> None:
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (store, box):
        await take(store, box, event(1))
        await box.settle([DeliveryResult(1, DeliveryState.DEAD)])
        clock.wall_offset_ns = 365 * 24 * HOUR_NS
        await take(store, box, event(2))
        assert await box.counts() == {"dead": 1, "pending": 1}
