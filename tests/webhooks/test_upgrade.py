"""Databases that older versions wrote go on: what waited is sent in its order, what was kept is kept."""

import sqlite3
from pathlib import Path

from rokuga.webhooks.entry import EntryState
from tests.material import ManualClock
from tests.webhooks.consumer import consuming
from tests.webhooks.house import CONFIG, due, house, outbox
from tests.webhooks.old_database import story

OLD = Path(__file__).parent / "databases" / "outbox-0.1.0.sql"


def restore(folder: Path) -> None:
    """Make the file of the house from the dump."""
    connection = sqlite3.connect(folder / "x.sqlite3")
    connection.executescript(OLD.read_text("utf-8"))
    connection.close()


async def test_the_rows_of_0_1_0_stay_as_they_were_and_have_their_recordings(tmp_path: Path) -> None:
    restore(tmp_path)
    async with outbox(tmp_path, CONFIG, ManualClock()) as (_, box):
        assert await box.counts() == {"delivered": 1, "dead": 1, "pending": 18}
        entries = {entry.seq: entry for entry in await box.entries()}
    expected = [*story("1"), *story("2")]
    assert [entries[seq].event_id for seq in sorted(entries)] == [event.id for event in expected]
    for seq, event in enumerate(expected, 1):
        if entries[seq].state is EntryState.PENDING:
            assert entries[seq].recording_id == event.document.get("recording_id", "")
    assert (entries[3].attempts, entries[3].last_error) == (1, "status 404")
    assert (entries[11].attempts, entries[11].is_away) == (1, True)
    assert (entries[2].state, entries[2].is_ours) == (EntryState.DEAD, True)


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
        async with house(tmp_path, CONFIG.__class__(url=consumer.url)) as home:
            await home.drained()
            await home.later(1)
            assert await home.outbox.counts() == {"delivered": 19, "dead": 1}
        for recording_id in "12":
            told = [post.event for post in consumer.of(f"channel of {recording_id}")]
            assert told[-1]["type"] == "recording.report" or told[-1]["type"] == "connection.destroyed"
            of_recording = [event["type"] for event in told if "recording_id" in event["data"]]
            assert of_recording[-1] == "recording.report"
