"""The file and its thread: transactions, migrations and errors."""

import asyncio
import contextlib
import gc
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rokuga.recorder.store import StoreError
from rokuga.recorder.store.database import MAX_GROUP, Database

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


async def test_the_file_uses_wal_and_full_synchronisation(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> tuple[str, int]:
        return (
            connection.execute("PRAGMA journal_mode").fetchone()[0],
            connection.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await database.read(pragmas) == ("wal", 2)


async def test_all_operations_run_in_one_thread(database: Database) -> None:
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


async def test_operations_fail_on_a_full_disk_and_succeed_when_there_is_space(database: Database) -> None:
    """SQLite's limit of pages raises the error of a full disk (SQLITE_FULL)."""
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


@contextlib.asynccontextmanager
async def busy(database: Database) -> AsyncIterator[list[str]]:
    """Keep the thread busy until the end of the context; yields the list of the statements that it runs then."""
    go_on, statements = threading.Event(), list[str]()
    working = asyncio.create_task(database.read(lambda _: go_on.wait()))
    await asyncio.sleep(0)
    assert database._connection is not None
    database._connection.set_trace_callback(statements.append)
    try:
        yield statements
    finally:
        go_on.set()
        await working


async def test_operations_that_wait_share_a_commit_in_their_order(
    database: Database,
) -> None:
    async with busy(database) as statements:
        noting = [asyncio.create_task(note(database, str(number))) for number in range(5)]
        await asyncio.sleep(0)
    await asyncio.gather(*noting)
    assert await notes(database) == ["0", "1", "2", "3", "4"]
    assert statements.count("BEGIN IMMEDIATE") == 1


async def test_the_number_of_operations_in_a_commit_is_bounded(database: Database) -> None:
    async with busy(database) as statements:
        noting = [asyncio.create_task(note(database, str(number))) for number in range(MAX_GROUP + 1)]
        await asyncio.sleep(0)
    await asyncio.gather(*noting)
    assert statements.count("BEGIN IMMEDIATE") == 2
    assert await notes(database) == [str(number) for number in range(MAX_GROUP + 1)]


async def test_of_operations_in_a_commit_only_the_failed_one_is_rolled_back(database: Database) -> None:
    """Its caller receives the error, whether of SQLite or of its own."""

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('half')")
        connection.execute("INSERT INTO notes VALUES (NULL)")

    def ours(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('ours')")
        raise KeyError("ours")

    async with busy(database):
        works = [note(database, "first"), database.transact(half), database.transact(ours), note(database, "last")]
        tasks = [asyncio.create_task(work) for work in works]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[1:3]] == [StoreError, KeyError]
    assert await notes(database) == ["first", "last"]


async def test_if_the_whole_commit_fails_every_operation_raises(database: Database) -> None:
    """As on a full disk, which also rolls back those that had succeeded."""

    def end(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    async with busy(database):
        works = [note(database, "first"), database.transact(end), note(database, "last")]
        tasks = [asyncio.create_task(work) for work in works]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError] * 3
    assert await notes(database) == []
    await note(database, "after")
    assert await notes(database) == ["after"]


async def test_failed_operations_leave_no_reference_cycles(database: Database) -> None:
    """A disk that is full for hours fails often, and the cyclic collector runs rarely."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES (NULL)")

    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            with contextlib.suppress(StoreError):
                await database.transact(fail)
        await notes(database)
        assert not [each for each in gc.get_objects() if isinstance(each, sqlite3.IntegrityError)]
    finally:
        gc.enable()


async def test_a_cancelled_caller_does_not_cancel_its_operation(database: Database) -> None:
    async with busy(database):
        tasks = [asyncio.create_task(note(database, text)) for text in ("cancelled", "other")]
        await asyncio.sleep(0)
        tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert await notes(database) == ["cancelled", "other"]


async def test_a_file_locked_by_another_process_can_be_read_but_not_written(database: Database, path: Path) -> None:
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
    """A file that is no database, at the path of the database."""
    path.write_bytes(b"not a database" * 100)
    return b"not a database" * 100


async def test_a_file_that_is_no_database_is_an_error_and_not_changed(path: Path, nonsense: bytes) -> None:
    with pytest.raises(StoreError, match="not a database"):
        async with Database(path, "test", SCHEMA):
            pass
    assert await asyncio.to_thread(path.read_bytes) == nonsense


def damage(path: Path) -> None:
    """Overwrite all but the first pages."""
    data = bytearray(path.read_bytes())
    data[16384:] = b"\xff" * (len(data) - 16384)
    path.write_bytes(data)


async def test_a_damaged_page_is_a_store_error(path: Path) -> None:
    async with Database(path, "test", SCHEMA) as database:
        for _ in range(100):
            await note(database, "x" * 1000)
    await asyncio.to_thread(damage, path)
    async with Database(path, "test", SCHEMA) as database:
        with pytest.raises(StoreError):
            await notes(database)


async def test_a_missing_folder_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"x\.sqlite3: No such file or directory \(errno 2\)"):
        async with Database(tmp_path / "none" / "x.sqlite3", "test", SCHEMA):
            pass


async def test_all_files_of_a_database_are_private(path: Path) -> None:
    """With any umask, and also if they exist with other permissions."""
    before = os.umask(0)
    try:
        async with Database(path, "test", SCHEMA) as database:
            await note(database, "new")
            assert modes(path) == {"x.sqlite3": 0o600, "x.sqlite3-wal": 0o600, "x.sqlite3-shm": 0o600}
            for each in path.parent.iterdir():
                each.chmod(0o644)
            async with Database(path, "other", ["CREATE TABLE others (id INTEGER);\n"]):
                assert set(modes(path).values()) == {0o600}
            assert await notes(database) == ["new"]
    finally:
        os.umask(before)


def modes(path: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with Database(path, "test", [*SCHEMA, "CREATE TABLE more (id INTEGER);\n"]):
        pass
    with pytest.raises(StoreError, match="newer version"):
        async with Database(path, "test", SCHEMA):
            pass


async def test_an_older_file_is_migrated_and_keeps_its_rows(path: Path) -> None:
    async with Database(path, "test", SCHEMA) as database:
        await note(database, "old")
    steps = [*SCHEMA, "ALTER TABLE notes ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';\n"]
    for _ in range(2):
        async with Database(path, "test", steps) as database:
            rows = await database.read(lambda connection: connection.execute("SELECT * FROM notes").fetchall())
            assert rows == [("old", "calm")]


async def test_a_migration_that_fails_is_rolled_back(path: Path) -> None:
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


def add_slow(connection: sqlite3.Connection) -> bool:
    connection.execute("INSERT INTO notes VALUES ('slow')")
    return True


def remove_slow(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM notes WHERE text = 'slow'")


async def test_an_operation_that_did_not_begin_in_time_is_never_executed(database: Database) -> None:
    async with busy(database):
        with pytest.raises(StoreError, match="did not answer"):
            await database.transact(add_slow, within_s=0.001)
        later = asyncio.create_task(note(database, "later"))
        await asyncio.sleep(0)
    await later
    assert await notes(database) == ["later"]


async def test_an_operation_that_waited_too_long_for_a_lock_is_never_executed(path: Path) -> None:
    """The file is locked for longer than the timeout."""
    async with Database(path, "test", SCHEMA) as database:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="did not answer"):
                await database.transact(add_slow, within_s=0.001)
            other.execute("ROLLBACK")
        assert await notes(database) == []


@contextlib.asynccontextmanager
async def hanging_commit(database: Database) -> AsyncIterator[None]:
    """Make the next commit last until the end of the context, as on a disk that hangs."""
    go_on, statements = threading.Event(), list[str]()

    def trace(statement: str) -> None:
        statements.append(statement)
        if statement == "COMMIT" and statements.count("COMMIT") == 1:
            go_on.wait()

    assert database._connection is not None
    database._connection.set_trace_callback(trace)
    try:
        yield
    finally:
        go_on.set()


async def test_a_commit_that_succeeds_after_its_refusal_is_undone_before_any_read(database: Database) -> None:
    async with hanging_commit(database):
        with pytest.raises(StoreError, match="did not answer"):
            await database.transact(add_slow, within_s=0.2, undo=remove_slow)
        reading = asyncio.create_task(notes(database))
        await asyncio.sleep(0)
    assert await reading == []


async def test_a_commit_without_undo_is_waited_for(database: Database) -> None:
    """The result is correct then, however late."""
    async with hanging_commit(database):
        adding = asyncio.create_task(database.transact(add_slow, within_s=0.5))
        await asyncio.wait({adding}, timeout=0.7)
        assert not adding.done()
    assert await adding
    assert await notes(database) == ["slow"]
