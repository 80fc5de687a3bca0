"""Databases that older versions wrote: what waited is sent in its order, what was kept is kept."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.webhooks.delivery import DEFAULT, EVENT_WEBHOOK, DeliveryState
from tests.material import WALL_NS, ManualClock
from tests.webhooks.consumer import consuming
from tests.webhooks.delivering import CONFIG, delivering, due, outbox
from tests.webhooks.old_database import story

FOLDER = Path(__file__).parent / "databases"
VERSIONS = ["outbox-0.1.0.sql", "outbox-schema-3.sql"]


def restore(folder: Path, dump: str = VERSIONS[0]) -> None:
    """Make the daemon's file from a dump."""
    connection = sqlite3.connect(folder / "x.sqlite3")
    connection.executescript((FOLDER / dump).read_text("utf-8"))
    connection.close()


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    """Read a table as it lies in the file."""
    connection = sqlite3.connect(folder / "x.sqlite3")
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return rows


@pytest.mark.parametrize("dump", VERSIONS)
async def test_each_row_of_an_older_version_becomes_a_delivery_with_all_its_values(tmp_path: Path, dump: str) -> None:
    """Waiting, parked, dead, delivered and skipped ones, with attempts, due time, error, body and number."""
    restore(tmp_path, dump)
    before = {row["seq"]: row for row in rows_of(tmp_path, "outbox")}
    (cursor,) = rows_of(tmp_path, "outbox_cursor")
    events = rows_of(tmp_path, "events")
    async with outbox(tmp_path, CONFIG, ManualClock()) as (store, box):
        assert await box.ingest() == 0
        assert len(await store.events_after(0, 100)) == len(events)
        assert box.cursor_of(EVENT_WEBHOOK) == cursor["cursor"]
        assert box.uptime_ns == cursor.get("uptime_ns", 0)
        assert (await box.counters())["outbox_pruned"] == cursor["forgotten"]
    after = {row["seq"]: row for row in rows_of(tmp_path, "deliveries")}
    assert after.keys() == before.keys()
    for seq, row in before.items():
        kept = {name: value for name, value in row.items() if name not in {"is_head", "recording_id"}}
        assert after[seq].items() >= kept.items()
        assert (after[seq]["consumer"], after[seq]["destination"]) == (EVENT_WEBHOOK, DEFAULT)
        if "is_head" in row:
            assert after[seq]["recording_id"] == row["recording_id"]
            assert after[seq]["is_blocked"] == (row["state"] == "pending" and not row["is_head"])


@pytest.mark.parametrize("dump", VERSIONS)
async def test_a_number_that_was_used_before_the_upgrade_is_not_used_again(tmp_path: Path, dump: str) -> None:
    restore(tmp_path, dump)
    last = max(row["seq"] for row in rows_of(tmp_path, "outbox"))
    connection = sqlite3.connect(tmp_path / "x.sqlite3")
    connection.execute("DELETE FROM outbox WHERE seq = ?", (last,))
    connection.commit()
    connection.close()
    async with outbox(tmp_path, CONFIG, ManualClock()) as (store, box):
        await store.append([next(story("new"))])
        await box.ingest()
        assert (await box.deliveries(limit=1))[0].seq == last + 1


async def test_an_upgraded_database_is_opened_again_without_another_upgrade(tmp_path: Path) -> None:
    restore(tmp_path, VERSIONS[1])
    for _ in range(2):
        async with outbox(tmp_path, CONFIG, ManualClock()) as (_, box):
            assert await box.counts() == {"delivered": 1, "dead": 1, "parked": 1, "unsent": 1, "pending": 25}


async def test_every_state_of_the_last_schema_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    """The one that was parked and the dead one are retried by the operator; the skipped one is not sent."""
    restore(tmp_path, VERSIONS[1])
    async with outbox(tmp_path, CONFIG, ManualClock()) as (_, box):
        assert [delivery.seq for delivery in await due(box)] == [5, 12, 22, 24]
        parked, dead = (await box.deliveries(DeliveryState.PARKED))[0], (await box.deliveries(DeliveryState.DEAD))[0]
        assert (parked.seq, parked.attempts, parked.last_error, parked.is_ours) == (14, 1, "status 403", True)
        assert (dead.seq, dead.attempts, dead.last_error, dead.is_ours) == (4, 1, "status 410 Gone", True)
    async with consuming() as consumer:
        async with delivering(tmp_path, CONFIG.__class__(url=consumer.url), ManualClock(WALL_NS)) as it:
            assert await it.outbox.retry() == 27
            await it.drained()
            assert await it.outbox.counts() == {"delivered": 28, "unsent": 1}
        ids = [post.event["id"] for post in consumer.posts]
    expected = [event.id for number in "123" for event in story(number)]
    assert sorted(ids) == sorted(set(expected) - {expected[0], expected[1], expected[20]})


async def test_a_database_whose_events_were_not_read_yet_goes_on_with_them(tmp_path: Path) -> None:
    restore(tmp_path, VERSIONS[1])
    async with SqliteStore(tmp_path / "x.sqlite3") as store:
        await store.append(list(story("4")))
    async with outbox(tmp_path, CONFIG, ManualClock()) as (_, box):
        assert await box.ingest() == 10
        assert (await box.counts())["pending"] == 35


async def test_the_rows_of_0_1_0_stay_as_they_were_and_have_their_recordings(tmp_path: Path) -> None:
    restore(tmp_path)
    async with outbox(tmp_path, CONFIG, ManualClock()) as (_, box):
        assert await box.counts() == {"delivered": 1, "dead": 1, "pending": 18}
        entries = {entry.seq: entry for entry in await box.deliveries()}
    expected = [*story("1"), *story("2")]
    assert [entries[seq].event_id for seq in sorted(entries)] == [event.id for event in expected]
    for seq, event in enumerate(expected, 1):
        if entries[seq].state is DeliveryState.PENDING:
            assert entries[seq].recording_id == event.document.get("recording_id", "")
    assert (entries[3].attempts, entries[3].last_error) == (1, "status 404")
    assert (entries[11].attempts, entries[11].is_away) == (1, True)
    assert (entries[2].state, entries[2].is_ours) == (DeliveryState.DEAD, True)


async def test_what_waited_in_0_1_0_is_due_by_the_order_of_connections_and_recordings(tmp_path: Path) -> None:
    """Of 1, A's archive was refused and B's is free; of 2 the start waits, and only its connections are told."""
    restore(tmp_path)
    clock = ManualClock()
    async with outbox(tmp_path, CONFIG, clock) as (_, box):
        assert [entry.seq for entry in await due(box)] == [4, 12, 14]
        clock.now_ns += 10**9
        assert [entry.seq for entry in await due(box)] == [3, 4, 11, 12, 14]


async def test_all_that_waited_in_0_1_0_is_delivered(tmp_path: Path) -> None:
    restore(tmp_path)
    async with consuming() as consumer:
        async with delivering(tmp_path, CONFIG.__class__(url=consumer.url)) as it:
            await it.drained()
            await it.later(1)
            assert await it.outbox.counts() == {"delivered": 19, "dead": 1}
        for recording_id in "12":
            told = [post.event for post in consumer.of(f"channel of {recording_id}")]
            assert told[-1]["type"] == "recording.report" or told[-1]["type"] == "connection.destroyed"
            of_recording = [event["type"] for event in told if "recording_id" in event["data"]]
            assert of_recording[-1] == "recording.report"
