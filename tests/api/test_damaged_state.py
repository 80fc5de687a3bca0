"""A daemon starts with a damaged or missing database, and reports the damage."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rokuga.api.daemon import running
from tests.api.serving import config_in

PAGE_BYTES = 4096


async def call(url: str, operation: str, **body: Any) -> Any:
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def ready(url: str) -> dict[str, Any]:
    """Wait until the daemon is ready; return the notes of /readyz."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}readyz") as response:
                if response.status == 200:
                    return dict(await response.json())
            await asyncio.sleep(0.05)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """The database of a stopped daemon, with two active recordings."""
    async with running(config_in(tmp_path)) as addresses:
        for channel in ("one", "two"):
            await call(addresses.api_url, "StartRecording", channel_id=channel, expire_time=0)
        assert "recovery" not in await ready(addresses.api_url)
    return tmp_path / "data/rokuga.sqlite3"


def root_of(path: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])


def overwrite(path: Path, page: int) -> None:
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(data)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def lose_events(path: Path) -> None:
    overwrite(path, root_of(path, "events"))


def lose_schema(path: Path) -> None:
    overwrite(path, 1)


def be_no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(("damage", "notes"), [(lose_events, 1), (lose_schema, 2), (be_no_database, 2)])
async def test_a_damaged_database_is_moved_aside_and_its_readable_rows_are_kept(
    database: Path, damage: Callable[[Path], None], notes: int
) -> None:
    """/readyz reports it; recordings whose rows are unreadable are restored from the event log."""
    damage(database)
    before = bytes_of(database)
    for start in range(2):
        async with running(config_in(database.parent.parent)) as addresses:
            said = await ready(addresses.api_url)
            assert len(await call(addresses.api_url, "ListStartedRecording")) == 2 + start
            if start == 0:
                assert len(said["recovery"]) == notes
                assert all(str(database) in note for note in said["recovery"])
                await call(addresses.api_url, "StartRecording", channel_id="three", expire_time=0)
            else:
                assert "recovery" not in said
    (aside,) = database.parent.glob("rokuga.sqlite3.damaged-*Z")
    assert bytes_of(aside) == before
    assert aside.stat().st_mode & 0o777 == 0o600


async def test_an_unreadable_row_is_moved_aside(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE recordings SET body = x'7b7d' WHERE channel_id = 'one'")
    async with running(config_in(database.parent.parent)) as addresses:
        (note,) = (await ready(addresses.api_url))["recovery"]
        assert "1 rows cannot be read; they are now in rokuga.sqlite3.rows.damaged-" in note
        (going_on,) = await call(addresses.api_url, "ListStartedRecording")
        assert going_on["channel_id"] == "two"


async def test_without_a_database_recordings_are_restored_from_the_event_log(database: Path) -> None:
    before = {"one": 0, "two": 0}
    for path in database.parent.glob("rokuga.sqlite3*"):
        path.unlink()
    async with running(config_in(database.parent.parent)) as addresses:
        (note,) = (await ready(addresses.api_url))["recovery"]
        assert "2 recordings were taken up from the log of events" in note
        going_on = await call(addresses.api_url, "ListStartedRecording")
        assert {each["channel_id"]: each["expire_time"] for each in going_on} == before
