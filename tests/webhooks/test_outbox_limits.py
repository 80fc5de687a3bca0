"""What the outbox keeps has limits: of delivered and dead entries, and of what the heads of channels cost."""

from dataclasses import replace
from pathlib import Path

import pytest

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from rokuga.webhooks.ingest import INGEST_LIMIT
from rokuga.webhooks.outbox import PRUNE_LOG_AFTER, Outbox
from tests.material import ManualClock, event
from tests.webhooks.delivering import CLOCK, CONFIG, KEY, no_log, outbox, take


async def test_many_events_are_ingested_in_batches_and_then_pruned_from_the_log(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        count = PRUNE_LOG_AFTER + INGEST_LIMIT
        await store.append([event(n) for n in range(count)])
        assert await box.ingest(no_log) == INGEST_LIMIT
        while await box.ingest(no_log):
            pass
        assert await box.counts() == {"pending": count}
        assert len(await store.events_after(0, count)) == count - PRUNE_LOG_AFTER


async def test_old_delivered_deliveries_are_pruned_and_dead_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rokuga.webhooks.retention.KEEP_DELIVERED", 50)
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event("dead"), event("waits"), *(event(n) for n in range(10)))
        settled = [
            DeliveryResult(1, DeliveryState.DEAD),
            *(DeliveryResult(seq, DeliveryState.DELIVERED) for seq in range(3, 13)),
        ]
        await box.settle(settled)
        await take(store, box, *(event(n, "other") for n in range(50 - 5)))
        counts = await box.counts()
        assert (counts["dead"], counts["delivered"]) == (1, 5)
        assert await box.delivery(event("waits").id) is not None


async def kept_bytes(box: Outbox) -> int:
    """How large the bodies are that are kept only to be looked at."""
    return sum(
        len(entry.body) for entry in await box.deliveries(limit=1000) if entry.state is not DeliveryState.PENDING
    )


@pytest.mark.parametrize("url", [CONFIG.url, None], ids=["delivered", "not to be sent"])
async def test_delivered_deliveries_are_pruned_by_the_size_of_their_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    """While entries come, while a backlog is delivered, and at the next start; what waits is no part of it."""
    config, large = replace(CONFIG, url=url), {"metadata": "x" * 10_000}
    monkeypatch.setattr("rokuga.webhooks.retention.KEEP_DELIVERED_BYTES", 100_000)
    monkeypatch.setattr("rokuga.webhooks.retention.PRUNE_AFTER_BYTES", 20_000)
    async with outbox(tmp_path, config, CLOCK) as (store, box):
        for number in range(30):
            await take(store, box, event(number, document=large))
        pending = (await box.counts()).get("pending", 0)
        assert pending == (30 if url else 0)
        for seq in range(1, pending - 1):
            await box.settle([DeliveryResult(seq, DeliveryState.DELIVERED)])
            assert await kept_bytes(box) <= 100_000 + 20_000 + 11_000
        assert 80_000 < await kept_bytes(box) <= 100_000 + 20_000 + 11_000
        assert (await box.counts()).get("pending", 0) == (2 if url else 0)
        last = await box.delivery(event(27).id)
        assert last is not None
        assert len(last.body) > 10_000
    monkeypatch.setattr("rokuga.webhooks.retention.KEEP_DELIVERED_BYTES", 30_000)
    async with outbox(tmp_path, config, CLOCK) as (store, box):
        await take(store, box, event("small"))
        assert await kept_bytes(box) <= 30_000
        assert await box.delivery(event(29).id) is not None


async def test_the_oldest_of_too_many_dead_deliveries_are_pruned(tmp_path: Path) -> None:
    """Those of one transaction, too; what waits and what is delivered is no part of it."""
    config = replace(CONFIG, dead_max_number=3)
    async with outbox(tmp_path, config, CLOCK) as (store, box):
        await take(store, box, event("waits"), *(event(n) for n in range(5)))
        await box.settle([DeliveryResult(seq, DeliveryState.DEAD) for seq in (2, 3, 4)])
        assert (await box.counters())["outbox_pruned"] == 0
        await box.settle([DeliveryResult(seq, DeliveryState.DEAD) for seq in (5, 6)])
        assert [entry.seq for entry in await box.deliveries(DeliveryState.DEAD)] == [6, 5, 4]
        assert await box.counts() == {"dead": 3, "pending": 1}
    async with outbox(tmp_path, config, CLOCK) as (_, box):
        assert (await box.counters())["outbox_pruned"] == 2


async def test_dead_deliveries_are_pruned_by_their_age(tmp_path: Path) -> None:
    clock = ManualClock()
    async with outbox(tmp_path, replace(CONFIG, dead_max_age_ns=NS_PER_S), clock) as (store, box):
        await take(store, box, event("waits"), event("dead"))
        await box.settle([DeliveryResult(2, DeliveryState.DEAD)])
        clock.now_ns += NS_PER_S
        await take(store, box, event("later"))
        assert (await box.counts())["dead"] == 1
        clock.now_ns += 1
        await take(store, box, event("later still"))
        assert await box.counts() == {"pending": 3}
        assert (await box.counters())["outbox_pruned"] == 1


async def test_reading_what_is_due_costs_the_same_with_many_waiting_deliveries(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """SQLite counts its own steps: a hundred times the entries, the same steps for the heads."""

    async def steps(per_channel: int) -> int:
        async with outbox(tmp_path_factory.mktemp("outbox"), CONFIG, CLOCK) as (store, box):
            await take(store, box, *(event(n, f"channel {n % 5}") for n in range(5 * per_channel)))
            counted = 0

            def count() -> int:
                nonlocal counted
                counted += 1
                return 0

            await box._database.read(lambda connection: connection.set_progress_handler(count, 1))
            await box.due(KEY, set(), 5)
            return counted

    assert await steps(per_channel=4) >= 0.9 * await steps(per_channel=400)
