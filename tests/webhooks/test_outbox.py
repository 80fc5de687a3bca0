"""The delivery table: taking over, order within a channel, and the clock."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoredEvent, StoreError
from rokuga.recorder.store.private_files import last_written_wall_ns
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState
from rokuga.webhooks.outbox import Outbox
from tests.material import WALL_NS, ManualClock, event
from tests.webhooks.delivering import CLOCK, CONFIG, KEY, IngestingOutbox, due, no_log, outbox, take


async def test_an_event_becomes_a_delivery_with_its_body(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event())
        body = make_body(event(), CONFIG)
        expected = Delivery(
            1,
            event().id,
            "archive.available",
            "sora",
            "SESSION",
            "CONNECTION",
            body,
            WALL_NS,
            DeliveryState.PENDING,
            0,
            0,
            "",
        )
        assert await due(box) == [expected]
        assert await box.delivery(event().id) == expected
        assert await box.deliveries() == [expected]


async def test_an_event_of_a_whole_recording_has_no_connection(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(event_type=EventType.RECORDING_REPORT))
        entry = (await due(box))[0]
        assert (entry.session_id, entry.connection_id) == ("", "")


async def test_only_the_first_delivery_of_a_connection_is_due(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1, "a"), event(2, "a"), event(1, "b"), event(2, "b"))
        heads = await due(box)
        assert [entry.seq for entry in heads] == [1, 3]
        assert [entry.seq for entry in await due(box, heads[0])] == [3]
        assert [entry.seq for entry in await due(box, limit=1)] == [1]
        await box.settle([DeliveryResult(1, DeliveryState.DELIVERED)])
        assert [entry.seq for entry in await due(box)] == [2, 3]


async def test_a_postponed_delivery_blocks_only_its_connection(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1, "a"), event(2, "a"), event(1, "b"))
        await box.settle([DeliveryResult(1, DeliveryState.PENDING, WALL_NS + 5, "no")])
        found = await box.due(KEY, set(), 10)
        assert ([entry.seq for entry in found.deliveries], found.next_wall_ns) == ([3], WALL_NS + 5)


async def test_a_dead_delivery_unblocks_its_connection(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1), event(2))
        await box.settle([DeliveryResult(1, DeliveryState.DEAD, error="status 410")])
        assert [entry.seq for entry in await due(box)] == [2]
        dead = await box.deliveries(DeliveryState.DEAD)
        assert [(entry.seq, entry.attempts, entry.last_error) for entry in dead] == [(1, 1, "status 410")]


async def test_an_entry_is_due_at_its_time_and_not_before(tmp_path: Path) -> None:
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (store, box):
        await take(store, box, event())
        await box.settle([DeliveryResult(1, DeliveryState.PENDING, WALL_NS + NS_PER_S)])
        clock.now_ns += NS_PER_S - 1
        assert await due(box) == []
        clock.now_ns += 1
        assert [entry.attempts for entry in await due(box)] == [1]


async def test_setting_the_wall_clock_back_by_a_day_postpones_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (store, box):
        await take(store, box, event())
        await box.settle([DeliveryResult(1, DeliveryState.PENDING, WALL_NS + NS_PER_S)])
        clock.now_ns -= 24 * 3600 * NS_PER_S
        assert len(await due(box)) == 1


async def test_without_a_url_events_go_to_the_log_only(tmp_path: Path) -> None:
    lines: list[bytes] = []

    def write(bodies: Sequence[bytes]) -> bool:
        lines.extend(bodies)
        return True

    async with outbox(tmp_path, replace(CONFIG, url=None), CLOCK) as (store, box):
        await store.append([event()])
        assert await box.ingest(write) == 1
        assert await due(box) == []
        assert await box.counts() == {"unsent": 1}
    assert lines == [make_body(event(), CONFIG)]


async def test_a_body_has_log_written_false_where_the_log_refused_it(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await store.append([event()])
        await box.ingest(lambda _: False)
        assert msgspec.json.decode((await due(box))[0].body)["log_written"] is False


async def test_after_a_restart_ingest_continues_and_bodies_are_unchanged(tmp_path: Path) -> None:
    """Another version and label meanwhile change nothing of what was taken over."""
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, event(1), event(2))
        await box.settle([DeliveryResult(1, DeliveryState.PENDING, 1, "timeout")])
    async with outbox(tmp_path, replace(CONFIG, version="2", label="Other"), CLOCK) as (store, box):
        assert await box.ingest(no_log) == 0
        await take(store, box, event(2), event(3))
        heads = await due(box)
        assert [(entry.seq, entry.attempts, entry.body) for entry in heads] == [(1, 1, make_body(event(1), CONFIG))]
        assert [entry.event_id for entry in await box.deliveries()] == [event(n).id for n in (3, 2, 1)]


class Torn:
    """A log of events that gives what it gave before, as after a crash of a store that keeps no cursors."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.cursor = 0

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give everything, under new cursors."""
        found = [StoredEvent(cursor + n, item) for n, item in enumerate(self.events[:limit], 1)]
        self.events = []
        return found

    async def prune_events(self, cursor: int) -> None:
        """Note it."""
        self.cursor = cursor


async def test_an_event_that_is_read_twice_is_one_delivery(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    torn = Torn([event(1), event(2)])
    async with IngestingOutbox(path, torn, CONFIG, CLOCK.clock()) as box:
        await box.ingest(no_log)
        await box.settle([DeliveryResult(1, DeliveryState.DELIVERED)])
        torn.events = [event(1), event(2), event(3)]
        await box.ingest(no_log)
        states = [(entry.event_id, entry.state) for entry in await box.deliveries()]
    pending, delivered = DeliveryState.PENDING, DeliveryState.DELIVERED
    assert states == [(event(3).id, pending), (event(2).id, pending), (event(1).id, delivered)]


async def test_a_failed_ingest_is_repeated_without_a_second_log_line(tmp_path: Path) -> None:
    lines: list[bytes] = []

    def write(bodies: Sequence[bytes]) -> bool:
        lines.extend(bodies)
        return True

    path = tmp_path / "x.sqlite3"
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await store.append([event()])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("ALTER TABLE outbox_totals RENAME TO away")
        with pytest.raises(StoreError):
            await box.ingest(write)
        assert await box.counts() == {}
        other.execute("ALTER TABLE away RENAME TO outbox_totals")
        other.close()
        assert await box.ingest(write) == 1
        assert await box.counts() == {"pending": 1}
    assert len(lines) == 1


async def test_make_due_affects_only_deliveries_whose_destination_was_away(tmp_path: Path) -> None:
    async with outbox(tmp_path, CONFIG, CLOCK) as (store, box):
        await take(store, box, *(event(1, channel) for channel in "abcd"))
        later = WALL_NS + NS_PER_S
        await box.settle(
            [DeliveryResult(seq, DeliveryState.PENDING, later, "timeout", is_away=True) for seq in (1, 2, 3)]
        )
        await box.settle([DeliveryResult(4, DeliveryState.PENDING, later, "status 500")])
        assert await box.make_due(KEY, 1) == 1
        assert [entry.seq for entry in await due(box)] == [1]
        await box.settle([DeliveryResult(3, DeliveryState.DELIVERED)])
        assert await box.make_due(KEY) == 1
        assert [entry.seq for entry in await due(box)] == [1, 2]


async def test_a_probe_writes_to_the_disk_each_time(tmp_path: Path) -> None:
    """So that a disk that takes nothing is found out, and a start after a crash knows until when there was life."""
    path = tmp_path / "x.sqlite3"
    async with outbox(tmp_path, CONFIG, CLOCK) as (_, box):
        for _ in range(3):
            before = last_written_wall_ns(path)
            while last_written_wall_ns(path) == before:
                await box.probe()


async def test_a_file_that_is_no_database_raises_and_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    await asyncio.to_thread(path.write_bytes, b"nonsense" * 100)
    with pytest.raises(StoreError):
        async with Outbox(path, Torn([]), CONFIG, CLOCK.clock()):
            pass


ACTION = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["a", "b", "c\u0000", "録画"])),
    st.tuples(st.just("send"), st.sampled_from(DeliveryState)),
)


@given(st.lists(ACTION, max_size=40))
@settings(max_examples=25)
async def test_a_connection_is_delivered_in_order_in_any_sequence_of_operations(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, str]]
) -> None:
    """Events of some channels, heads that are delivered, put off or given up in any order."""
    delivered: dict[str, list[int]] = {}
    async with outbox(tmp_path_factory.mktemp("outbox"), CONFIG, CLOCK) as (store, box):
        for number, (action, what) in enumerate(actions):
            if action == "say":
                await take(store, box, event(number, what))
            for entry in await due(box, limit=1) if action == "send" else []:
                state = DeliveryState(what) if what != DeliveryState.SKIPPED else DeliveryState.PENDING
                if state is DeliveryState.DELIVERED:
                    told = msgspec.json.decode(entry.body)["data"]["number"]
                    delivered.setdefault(entry.channel_id, []).append(told)
                await box.settle([DeliveryResult(entry.seq, state)])
    assert all(numbers == sorted(set(numbers)) for numbers in delivered.values())
