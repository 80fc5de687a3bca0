"""What is particular to the store in a file."""

import sqlite3
from pathlib import Path

import pytest

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import event, recording


async def test_a_row_that_cannot_be_read_is_a_fault_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    async with SqliteStore(path) as store:
        await store.start_recording(recording(), [event()])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("UPDATE recordings SET body = x'7b7d'")
        other.execute("UPDATE events SET body = x'00'")
        other.close()
        with pytest.raises(StoreError):
            await store.unfinished_recordings()
        with pytest.raises(StoreError):
            await store.events_after(0, 10)


async def test_forgotten_events_give_their_room_back(tmp_path: Path) -> None:
    """The same amount again fits into the pages that were let go, but for the ids."""
    path = tmp_path / "x.sqlite3"
    sizes = []
    async with SqliteStore(path) as store:
        for batch in range(4):
            events = [event(f"{batch} {n}", document={"text": "x" * 2000}) for n in range(200)]
            await store.append(events)
            await store.forget_events((await store.events_after(0, 1000))[-1].cursor)
            other = sqlite3.connect(path)
            sizes.append(other.execute("PRAGMA page_count").fetchone()[0])
            other.close()
    assert sizes[3] < sizes[0] * 1.5
