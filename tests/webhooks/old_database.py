"""Writes the database of a version as SQL: a recording whose events are delivered, dead, waiting and put off.

`databases/outbox-0.1.0.sql` was written by this script with the code of version 0.1.0:

    python -m tests.webhooks.old_database > tests/webhooks/databases/outbox-0.1.0.sql
"""

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.entry import DeliveryResult, EntryState
from tests.material import WALL_NS, ManualClock, identity
from tests.webhooks.house import CONFIG, outbox, take


def story(recording_id: str) -> Iterator[Event]:
    """Give the events of one recording with the connections A and B."""
    of_recording: Document = {"recording_id": recording_id}
    yield _event(EventType.RECORDING_STARTED, recording_id, "", of_recording)
    for connection_id in "AB":
        yield _event(EventType.CONNECTION_CREATED, recording_id, connection_id, {"role": "sendonly"})
        yield _event(EventType.ARCHIVE_STARTED, recording_id, connection_id, of_recording)
    for connection_id in "AB":
        yield _event(EventType.ARCHIVE_AVAILABLE, recording_id, connection_id, of_recording)
        yield _event(EventType.CONNECTION_DESTROYED, recording_id, connection_id, {"role": "sendonly"})
    yield _event(EventType.RECORDING_REPORT, recording_id, "", of_recording)


def _event(event_type: EventType, recording_id: str, connection_id: str, document: Document) -> Event:
    return Event(
        id=event_id(event_type, recording_id, connection_id),
        type=event_type,
        wall_ns=WALL_NS,
        channel_id=f"channel of {recording_id}",
        document=document,
        connection=identity(f"channel of {recording_id}", f"{recording_id}-{connection_id}")
        if connection_id
        else None,
    )


async def write(path: Path) -> None:
    """Make it: of 1 the start is delivered, the next is dead, the next was refused; of 2 the start got no answer."""
    async with outbox(path.parent, CONFIG, ManualClock()) as (store, box):
        await take(store, box, *story("1"), *story("2"))
        later_wall_ns = WALL_NS + NS_PER_S
        outcomes = [
            DeliveryResult(1, EntryState.DELIVERED),
            DeliveryResult(2, EntryState.DEAD, error="status 410 Gone"),
            DeliveryResult(3, EntryState.PENDING, later_wall_ns, "status 404"),
            DeliveryResult(11, EntryState.PENDING, later_wall_ns, "timeout", is_away=True),
        ]
        await box.settle(outcomes)


def dump(path: Path) -> Iterator[str]:
    """Give a database as SQL."""
    connection = sqlite3.connect(path)
    try:
        yield from (f"{line}\n" for line in connection.iterdump())
    finally:
        connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.sqlite3")
        asyncio.run(write(file))
        sys.stdout.writelines(dump(file))
