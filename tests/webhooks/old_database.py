"""Write the database of a version as SQL: recordings whose deliveries are in every state that the version has.

`databases/outbox-0.1.0.sql` was written by this script with the code of version 0.1.0, which has neither `parked` nor
ages; `outbox-schema-3.sql` with the last code whose table was `outbox`, with one cursor and without destinations:

    python -m tests.webhooks.old_database tests/webhooks/databases/outbox-schema-3.sql
"""

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.delivery import DeliveryResult, DeliveryState
from tests.material import WALL_NS, ManualClock, identity
from tests.webhooks.delivering import CONFIG, outbox, take


def story(recording_id: str) -> Iterator[Event]:
    """Return the events of one recording with the connections A and B."""
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
    """Write three recordings; `test_upgrade.py` says what became of which delivery."""
    clock, later_wall_ns = ManualClock(), WALL_NS + NS_PER_S
    async with outbox(path.parent, replace(CONFIG, dead_max_number=1), clock) as (store, box):
        await take(store, box, *story("1"), *story("2"), *story("3"))
        clock.now_ns += NS_PER_S
        await box.settle([DeliveryResult(2, DeliveryState.DEAD, error="pruned by the next one")])
        outcomes = [
            DeliveryResult(1, DeliveryState.DELIVERED),
            DeliveryResult(4, DeliveryState.DEAD, error="status 410 Gone"),
            DeliveryResult(3, DeliveryState.PENDING, later_wall_ns, "status 404"),
            DeliveryResult(11, DeliveryState.PENDING, later_wall_ns, "timeout", is_away=True),
            DeliveryResult(14, DeliveryState.PARKED, error="status 403"),
            DeliveryResult(21, DeliveryState.SKIPPED, error="another node told it", attempts=0),
        ]
        await box.settle(outcomes)


def dump(path: Path) -> Iterator[str]:
    """Return a database as lines of SQL."""
    connection = sqlite3.connect(path)
    try:
        yield from (f"{line}\n" for line in connection.iterdump())
    finally:
        connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.sqlite3")
        asyncio.run(write(file))
        Path(sys.argv[1]).write_text("".join(dump(file)), "utf-8")
