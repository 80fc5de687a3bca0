"""Databases with overwritten pages."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from rokuga.recorder.store.damage import find_damage, salvage, set_aside
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import archive, event, recording

PAGE_BYTES = 4096


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with rows on many pages."""
    path = tmp_path / "x.sqlite3"
    async with SqliteStore(path) as store:
        await store.start_recording(recording(), [event()])
        for number in range(40):
            await store.save_archive(archive(connection_id=f"c{number:02}"), [event(f"e{number}")])
            await store.append([event(f"f{number}", document={"text": "x" * 900})])
    return path


def pages_of(path: Path, table: str) -> list[int]:
    """Return the numbers of a table's pages, from 1."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    data = path.read_bytes()[(root - 1) * PAGE_BYTES : root * PAGE_BYTES]
    cells = int.from_bytes(data[3:5], "big")  # https://www.sqlite.org/fileformat.html section 1.6
    pointers = [int.from_bytes(data[12 + 2 * n : 14 + 2 * n], "big") for n in range(cells)]
    is_interior = data[0] in {2, 5}
    return [root, *(int.from_bytes(data[at : at + 4], "big") for at in pointers if is_interior)]


def overwrite(path: Path, page: int) -> None:
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(data)


def test_an_intact_and_a_missing_database_are_not_damaged(path: Path) -> None:
    assert find_damage(path) is None
    assert find_damage(path.with_name("none")) is None
    assert not path.with_name("none").exists()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"not a database" * 100)
    assert find_damage(path) == "file is not a database"


@pytest.mark.parametrize("table", ["events", "archives", "recordings", "event_ids", "migrations"])
def test_an_overwritten_page_is_found(path: Path, table: str) -> None:
    overwrite(path, pages_of(path, table)[-1])
    assert find_damage(path) is not None


def test_a_damaged_database_is_renamed_with_its_log_and_index(path: Path) -> None:
    path.with_name("x.sqlite3-wal").write_bytes(b"log")
    aside = [set_aside(path, 1_700_000_000_000_000_000), set_aside_again(path)]
    assert [each.name for each in aside] == [
        "x.sqlite3.damaged-20231114T221320Z",
        "x.sqlite3.damaged-20231114T221320Z-2",
    ]
    assert aside[0].with_name(f"{aside[0].name}-wal").read_bytes() == b"log"
    assert {path.stat().st_mode & 0o777 for path in aside} == {0o600}


def set_aside_again(path: Path) -> Path:
    path.write_bytes(b"another")
    return set_aside(path, 1_700_000_000_000_000_000)


async def test_rows_of_intact_pages_are_copied(path: Path) -> None:
    """From both sides of the damage; cursors continue."""
    overwrite(path, pages_of(path, "events")[3])
    aside = set_aside(path, 0)
    rows = salvage(aside, path)
    assert rows is not None
    assert rows > 150
    assert find_damage(path) is None
    async with SqliteStore(path) as store:
        assert [each.recording_id for each in await store.unfinished_recordings()] == [recording().recording_id]
        assert len(await store.archives(recording().recording_id)) == 40
        kept = await store.events_after(0, 1000)
        assert 70 < len(kept) < 81
        assert {kept[0].event.id, kept[-1].event.id} == {event().id, event("f39").id}
        await store.append([event("new"), event("e1")])
        (new,) = await store.events_after(kept[-1].cursor, 10)
        assert (new.cursor, new.event.id) == (kept[-1].cursor + 1, event("new").id)


@pytest.mark.parametrize("table", ["migrations", "sqlite_sequence", "sqlite_master"])
def test_nothing_is_copied_without_schema_and_cursors(path: Path, table: str) -> None:
    overwrite(path, 1 if table == "sqlite_master" else pages_of(path, table)[0])
    aside = set_aside(path, 0)
    assert salvage(aside, path) is None
    assert [each.name for each in path.parent.glob("x.sqlite3*") if "damaged" not in each.name] == []
