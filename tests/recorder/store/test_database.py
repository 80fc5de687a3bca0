"""The file and its thread: transactions, migrations and every fault of the world."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.database import Database

SCHEMA = ["CREATE TABLE notes (text TEXT NOT NULL) STRICT;\n"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.sqlite3"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with Database(path, "test", SCHEMA, busy_s=0) as opened:
        yield opened


async def note(database: Database, text: str) -> None:
    await database.transact(lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (text,)))


async def notes(database: Database) -> Sequence[str]:
    return await database.read(
        lambda connection: [text for (text,) in connection.execute("SELECT text FROM notes").fetchall()]
    )


async def test_it_is_written_ahead_and_synced_in_full(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
        return (
            connection.execute("PRAGMA journal_mode").fetchone()[0],
            connection.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await database.read(pragmas) == ("wal", 2)


async def test_all_work_is_done_in_one_thread_of_its_own(database: Database) -> None:
    threads = set(await asyncio.gather(*(database.transact(lambda _: threading.get_ident()) for _ in range(20))))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        connection.execute("INSERT INTO notes VALUES (NULL)")

    with pytest.raises(StoreError, match="NOT NULL"):
        await database.transact(work)
    assert await notes(database) == []


async def test_a_full_disk_is_told_and_forgotten_when_there_is_room_again(database: Database) -> None:
    """SQLite's limit of pages gives the very error of a full disk (SQLITE_FULL)."""
    pages = await database.read(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await database.read(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    await note(database, "before")
    with pytest.raises(StoreError, match="full"):
        await note(database, "x" * 100_000)
    assert await notes(database) == ["before"]
    await database.read(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    await note(database, "after")
    assert await notes(database) == ["before", "after"]


async def test_a_commit_that_fails_does_not_block_the_next(database: Database) -> None:
    """A deferred constraint is checked by COMMIT: its failure leaves the transaction open."""

    def prepare(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")

    await database.transact(prepare)

    def break_a_promise(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO children VALUES (1)")

    await database._call(lambda: database._connection and database._connection.execute("PRAGMA foreign_keys = ON"))
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await database.transact(break_a_promise)
    await note(database, "after")
    assert await notes(database) == ["after"]


async def test_a_file_that_another_process_holds_is_a_fault_but_can_be_read(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await note(database, "no")
    assert await notes(database) == []
    other.execute("ROLLBACK")
    other.close()
    await note(database, "yes")
    assert await notes(database) == ["yes"]


@pytest.fixture
def nonsense(path: Path) -> bytes:
    """A file that is no database, where the database should be."""
    path.write_bytes(b"not a database" * 100)
    return b"not a database" * 100


async def test_a_file_that_is_no_database_is_told_and_left_as_it_is(path: Path, nonsense: bytes) -> None:
    with pytest.raises(StoreError, match="not a database"):
        async with Database(path, "test", SCHEMA):
            pass
    assert await asyncio.to_thread(path.read_bytes) == nonsense


def damage(path: Path) -> None:
    """Overwrite all but the first pages."""
    data = bytearray(path.read_bytes())
    data[16384:] = b"\xff" * (len(data) - 16384)
    path.write_bytes(data)


async def test_a_damaged_page_is_a_fault(path: Path) -> None:
    async with Database(path, "test", SCHEMA) as database:
        for _ in range(100):
            await note(database, "x" * 1000)
    await asyncio.to_thread(damage, path)
    async with Database(path, "test", SCHEMA) as database:
        with pytest.raises(StoreError):
            await notes(database)


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        async with Database(tmp_path / "none" / "x.sqlite3", "test", SCHEMA):
            pass


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with Database(path, "test", [*SCHEMA, "CREATE TABLE more (id INTEGER);\n"]):
        pass
    with pytest.raises(StoreError, match="newer version"):
        async with Database(path, "test", SCHEMA):
            pass


async def test_an_older_file_gets_the_steps_that_it_lacks_and_keeps_its_rows(path: Path) -> None:
    async with Database(path, "test", SCHEMA) as database:
        await note(database, "old")
    steps = [*SCHEMA, "ALTER TABLE notes ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';\n"]
    for _ in range(2):
        async with Database(path, "test", steps) as database:
            rows = await database.read(lambda connection: connection.execute("SELECT * FROM notes").fetchall())
            assert rows == [("old", "calm")]


async def test_a_step_that_fails_is_undone_whole(path: Path) -> None:
    async with Database(path, "test", SCHEMA):
        pass
    with pytest.raises(StoreError, match="already exists"):
        async with Database(path, "test", [*SCHEMA, "CREATE TABLE more (id);\nCREATE TABLE notes (id);\n"]):
            pass
    async with Database(path, "test", [*SCHEMA, "CREATE TABLE more (id);\n"]):
        pass


async def test_two_owners_share_a_file(path: Path) -> None:
    async with (
        Database(path, "test", SCHEMA) as one,
        Database(path, "other", ["CREATE TABLE others (id INTEGER);\n"]) as two,
    ):
        await note(one, "seen by both")
        assert await notes(two) == ["seen by both"]


@pytest.mark.usefixtures("nonsense")
async def test_no_thread_is_left_behind(path: Path) -> None:
    async with Database(path.with_suffix(".good"), "threads-test", SCHEMA):
        assert any("threads-test" in thread.name for thread in threading.enumerate())
    with pytest.raises(StoreError):
        async with Database(path, "threads-test", SCHEMA):
            pass
    assert not any("threads-test" in thread.name for thread in threading.enumerate())
