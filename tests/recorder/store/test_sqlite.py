"""What only the store in a SQLite file does."""

import contextlib
import sqlite3
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.database import Database
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import archive, event, recording


async def test_a_row_that_cannot_be_decoded_is_a_store_error(tmp_path: Path) -> None:
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


async def test_rows_that_cannot_be_decoded_are_moved_and_the_rest_is_usable(tmp_path: Path) -> None:
    path, aside = tmp_path / "x.sqlite3", tmp_path / "aside"
    async with SqliteStore(path) as store:
        assert await store.move_unreadable_rows(aside) == 0
        assert not aside.exists()
        for name in ("good", "bad"):
            await store.start_recording(recording(name, channel_id=name), [event(name)])
            await store.save_archive(archive("good", connection_id=name), [])
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE recordings SET body = x'7b7d' WHERE recording_id = 'bad'")
            other.execute("UPDATE archives SET body = x'ff' WHERE connection_id = 'bad'")
            other.execute("REPLACE INTO archives SELECT 'bad', 'good', 1, start_wall_ns, x'ff' FROM archives LIMIT 1")
            other.execute("UPDATE events SET body = x'00' WHERE cursor = 2")
        assert await store.move_unreadable_rows(aside) == 4
        assert [each.recording_id for each in await store.unfinished_recordings()] == ["good"]
        assert [each.connection.connection_id for each in await store.archives("good")] == ["good"]
        assert [each.event.id for each in await store.events_after(0, 10)] == [event("good").id]
    lines = [msgspec.json.decode(line) for line in aside.read_bytes().splitlines()]
    assert [(line["table"], line["key"], line["body"]) for line in lines] == [
        ("recordings", "bad", "e30="),
        ("archives", "good", "/w=="),
        ("archives", "bad", "/w=="),
        ("events", 2, "AA=="),
    ]
    assert aside.stat().st_mode & 0o777 == 0o600


async def test_archives_of_a_file_of_0_1_0_are_the_first_of_their_connections(tmp_path: Path) -> None:
    """The step of the schema that numbers archives keeps existing ones."""
    path, here = tmp_path / "x.sqlite3", resources.files("rokuga.recorder.store")
    names = ("schema.sql", "schema-2.sql", "schema-3.sql")
    async with Database(path, "recorder", [here.joinpath(name).read_text("utf-8") for name in names]) as old:
        kept = msgspec.to_builtins(archive("r", connection_id="c"))
        for added in ("number", "parts_before", "parts_start_wall_ns", "owes_parts_end"):
            del kept[added]
        body = msgspec.json.encode(kept)
        await old.transact(lambda there: there.execute("INSERT INTO archives VALUES ('r', 'c', 1, ?)", (body,)))
    async with SqliteStore(path) as store:
        assert list(await store.archives("r")) == [archive("r", connection_id="c")]


async def test_pruned_events_free_their_space(tmp_path: Path) -> None:
    """The same number of events fits into the freed pages, but for the ids."""
    path = tmp_path / "x.sqlite3"
    sizes = []
    async with SqliteStore(path) as store:
        for batch in range(4):
            events = [event(f"{batch} {n}", document={"text": "x" * 2000}) for n in range(200)]
            await store.append(events)
            await store.prune_events((await store.events_after(0, 1000))[-1].cursor)
            other = sqlite3.connect(path)
            sizes.append(other.execute("PRAGMA page_count").fetchone()[0])
            other.close()
    assert sizes[3] < sizes[0] * 1.5


def count_rows(path: Path) -> dict[str, int]:
    """Count the rows of each table, and the pages of the file."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        tables = ("recordings", "archives", "events", "event_ids")
        rows = {table: other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        return {**rows, "pages": other.execute("PRAGMA page_count").fetchone()[0]}


async def record(store: SqliteStore, name: str) -> None:
    """Store a recording with an archive, from start to report."""
    about = {"recording_id": name}
    await store.start_recording(recording(name, channel_id=name), [event(f"{name} started", document=about)])
    await store.save_archive(archive(name), [event(f"{name} archive", document=about)])
    await store.stop_recording(name, 1)
    await store.finish_recording(name, [event(f"{name} report", document=about)])


async def prune_all(store: SqliteStore) -> None:
    """Prune all events."""
    await store.prune_events((await store.events_after(0, 100_000))[-1].cursor)


async def test_finished_recordings_are_deleted_with_their_events(tmp_path: Path) -> None:
    """The size of the file depends on the kept ones; an active recording stays, with its ids."""
    path = tmp_path / "x.sqlite3"
    sizes = []
    async with SqliteStore(path, ids_kept=30) as store:
        lasting = event("lasting started", document={"recording_id": "lasting"})
        await store.start_recording(recording("lasting", channel_id="lasting"), [lasting])
        for batch in range(6):
            for number in range(50):
                await record(store, f"{batch} {number}")
            await prune_all(store)
            sizes.append(count_rows(path))
        assert sizes[0] == {
            "recordings": 11,
            "archives": 10,
            "events": 0,
            "event_ids": 31,
            "pages": sizes[0]["pages"],
        }
        assert [{**size, "pages": 0} for size in sizes] == [{**sizes[0], "pages": 0}] * 6
        assert sizes[-1]["pages"] == sizes[1]["pages"]
        await store.append([lasting, event("5 49 report", document={"recording_id": "5 49"})])
        assert await store.events_after(0, 10) == []
        assert [each.recording_id for each in await store.unfinished_recordings()] == ["lasting"]


async def test_a_file_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    """Its rows are kept, and no event is stored twice."""
    path = tmp_path / "x.sqlite3"
    first = resources.files("rokuga.recorder.store").joinpath("schema.sql").read_text("utf-8")
    async with Database(path, "recorder", [first]) as database:

        def fill(connection: sqlite3.Connection) -> None:
            body = msgspec.json.encode(recording())
            connection.execute("INSERT INTO recordings VALUES ('RECORDING', 'sora', 'active', 1, ?)", (body,))
            connection.execute("INSERT INTO event_ids VALUES (?)", (event().id,))
            connection.execute("INSERT INTO events (body) VALUES (?)", (msgspec.json.encode(event()),))

        await database.transact(fill)
    async with SqliteStore(path) as store:
        assert await store.unfinished_recordings() == [recording()]
        await store.append([event()])
        assert [stored.event for stored in await store.events_after(0, 10)] == [event()]
