"""Replaces a damaged SQLite file: renames it, and copies what can still be read into a new one.

Rows of a damaged page are lost; all others are copied, with their schema. Runs before the file is opened.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from rokuga.recorder.directory_lock import aside_path
from rokuga.recorder.store.private_files import FILE_MODE, database_files

log = structlog.get_logger()

DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
"""SQLite's error codes of a damaged file; others are those of the disk or of permissions."""

ESSENTIAL: Final = ("migrations", "sqlite_sequence", "outbox_cursor", "consumers")
"""Tables that have to be complete: with a guessed schema or cursor, events would be lost for good."""


def replace_damaged(path: Path, wall_ns: int) -> list[str]:
    """Replace a damaged database; return a line for the operator, or none if it is not damaged.

    Call it before the file is opened. Raises OSError if files cannot be renamed or created.
    """
    reason = find_damage(path)
    if reason is None:
        return []
    aside = set_aside(path, wall_ns)
    rows = salvage(aside, path)
    log.error("database damaged", path=str(path), reason=reason, moved_to=str(aside), rows=rows)
    kept = "nothing could be copied from it" if rows is None else f"{rows} rows were copied from it"
    return [f"{path}: {reason}; it is now {aside.name}, and {kept}"]


def find_damage(path: Path) -> str | None:
    """Return what is damaged in a database; None if it is intact or does not exist. Reads all of it.

    Also None if it cannot be read for another reason, which opening it reports.
    """
    if not path.exists():
        return None
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            return str(error) if _is_damage(error) else None
    return None if found == ["ok"] else " ".join(found[0].split())


def set_aside(path: Path, wall_ns: int) -> Path:
    """Rename a file, its log and its index to `{name}.damaged-{date}`; return the new path. Raises OSError."""
    target = aside_path(path, wall_ns)
    for name, new_name in zip(database_files(path), database_files(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            name.rename(new_name)
            new_name.chmod(FILE_MODE)
    return target


def salvage(damaged: Path, path: Path) -> int | None:
    """Copy what can be read of a damaged database into a new file; return the number of rows.

    None, and no file, if the schema or a cursor cannot be read. Raises OSError.
    """
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    try:
        with (
            contextlib.closing(sqlite3.connect(damaged, isolation_level=None)) as old,
            contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as new,
        ):
            new.execute("PRAGMA synchronous=FULL")
            new.execute("BEGIN")
            rows = _copy(old, new)
            new.execute("COMMIT")
    except sqlite3.Error as error:
        log.warning("damaged database not readable", path=str(damaged), reason=str(error))
        draft.unlink()
        return None
    draft.rename(path)
    return rows


def _copy(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    schema = old.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    tables = [(name, sql) for kind, name, sql in schema if kind == "table" and not name.startswith("sqlite_")]
    if "migrations" not in [name for name, _ in tables]:
        raise sqlite3.DatabaseError("there is no schema")
    rows = 0
    for name, sql in tables:
        new.execute(sql)
        rows += _copy_table(old, new, name)
    new.execute("DELETE FROM sqlite_sequence")  # the copies have set it
    rows += _copy_table(old, new, "sqlite_sequence")
    for kind, _, sql in schema:
        if kind == "index":
            new.execute(sql)
    return rows


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, name: str) -> int:
    """Copy the rows from the first one up to the damage, then from the last one back to it."""
    key = [column for _, column, *_, place in old.execute(f"PRAGMA table_info({name})") if place] or ["rowid"]
    columns = len(old.execute(f"SELECT * FROM {name} LIMIT 0").description)
    insert = f"INSERT OR IGNORE INTO {name} VALUES ({','.join('?' * columns)})"
    count, is_whole = 0, True
    for order in ("ASC", "DESC"):
        select = f"SELECT * FROM {name} ORDER BY {', '.join(f'{column} {order}' for column in key)}"
        try:
            for row in _rows(old, select):
                count += new.execute(insert, row).rowcount
        except sqlite3.DatabaseError as error:
            if not _is_damage(error) or name in ESSENTIAL:
                raise
            is_whole = False
        if is_whole:
            break
    if not is_whole:
        log.warning("table of a damaged database copied in part", table=name, rows=count)
    return count


def _rows(connection: sqlite3.Connection, select: str) -> Iterator[Sequence[Any]]:
    yield from connection.execute(select)


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE_CODES
