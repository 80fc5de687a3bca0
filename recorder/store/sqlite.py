"""The store of a single node in one SQLite file. Concurrent changes share a commit (database.py)."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from rokuga.recorder.events import Event, EventType
from rokuga.recorder.models import ArchiveState, Change, NodeState, RecordingState, RecordingStatus
from rokuga.recorder.store import REQUEST_TIMEOUT_S, PreviousRun, StoredEvent
from rokuga.recorder.store.database import Database
from rokuga.recorder.store.private_files import append_private, last_written_wall_ns

_encode = msgspec.json.Encoder().encode
_decode_recording = msgspec.json.Decoder(RecordingState).decode
_decode_archive = msgspec.json.Decoder(ArchiveState).decode
_decode_event = msgspec.json.Decoder(Event).decode


IDS_KEPT: Final = 10_000
"""Events whose ids are kept after they were pruned, with the recordings that finished since."""


PRUNE: Final = (
    "DELETE FROM archives WHERE recording_id IN"
    " (SELECT recording_id FROM recordings WHERE status = 'finished' AND finish_cursor <= ?)",
    "DELETE FROM recordings WHERE status = 'finished' AND finish_cursor <= ?",
    "DELETE FROM event_ids WHERE cursor <= ? AND recording_id NOT IN (SELECT recording_id FROM recordings)",
)
"""Deletes finished recordings and ids of events up to a cursor."""


DECODED: Final[Sequence[tuple[str, str, Callable[[bytes], object]]]] = (
    ("recordings", "recording_id", _decode_recording),
    ("archives", "connection_id", _decode_archive),
    ("events", "cursor", _decode_event),
    ("open_connections", "connection_id", _decode_event),
)
"""Tables of encoded values: name, a column that identifies the row, decoder of `body`."""


class SqliteStore:
    """A RecordingStore in a file. An async context."""

    def __init__(self, path: Path, ids_kept: int = IDS_KEPT, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        here = resources.files("rokuga.recorder.store")
        names = ("schema.sql", "schema-2.sql", "schema-3.sql", "schema-4.sql")
        scripts = [here.joinpath(name).read_text("utf-8") for name in names]
        self._path = path
        self._last_seen_wall_ns = 0
        self._database = Database(path, "recorder", scripts)
        self._ids_kept = ids_kept
        self._answer_timeout_s = request_timeout_s

    async def __aenter__(self) -> Self:
        self._last_seen_wall_ns = last_written_wall_ns(self._path)
        await self._database.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    async def move_unreadable_rows(self, file: Path) -> int:
        """Move rows that cannot be decoded into a file, appended as a line of JSON each; return their number.

        Call it before anything is read: one such row makes every read of its table fail. Raises StoreError.
        """

        def move(connection: sqlite3.Connection) -> int:
            found = [row for table, key, decode in DECODED for row in _unreadable(connection, table, key, decode)]
            if found:
                append_private(file, b"".join(_encode(row) + b"\n" for _, row in found))
            for statement, row in found:
                connection.execute(statement, (row["key"], row["body"]))
            return len(found)

        return await self._database.transact(move)

    async def read_barrier(self) -> None:
        """Return at once: there are no other nodes."""

    async def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Yield nothing, without end: there are no other nodes."""
        while True:
            await asyncio.Event().wait()
            yield ()

    async def nodes(self) -> Sequence[NodeState]:
        """Return none: there is no cluster."""
        return ()

    async def start_recording(self, recording: RecordingState, events: Sequence[Event]) -> bool:
        """Create an active recording; see RecordingStore."""

        def start(connection: sqlite3.Connection) -> bool:
            channel_id = recording.parameters.channel_id
            connection.execute(
                "INSERT OR IGNORE INTO recordings VALUES (?, ?, ?, ?, ?, 0)",
                (recording.recording_id, channel_id, recording.status, recording.start_wall_ns, _encode(recording)),
            )
            active = connection.execute(
                "SELECT recording_id FROM recordings WHERE channel_id = ? AND status = 'active'", (channel_id,)
            ).fetchone()
            if active != (recording.recording_id,):
                return False
            _append(connection, events)
            return True

        def undo(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM recordings WHERE recording_id = ?", (recording.recording_id,))
            _remove(connection, events)

        return await self._database.transact(start, within_s=self._answer_timeout_s, undo=undo)

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Move a recording from ACTIVE to STOPPING; see RecordingStore."""

        def stop(connection: sqlite3.Connection) -> bool:
            return _move(connection, recording_id, RecordingStatus.ACTIVE, RecordingStatus.STOPPING, stop_wall_ns)

        def undo(connection: sqlite3.Connection) -> None:
            _move(connection, recording_id, RecordingStatus.STOPPING, RecordingStatus.ACTIVE)

        return await self._database.transact(stop, within_s=self._answer_timeout_s, undo=undo)

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Move a recording from STOPPING to FINISHED with its report; see RecordingStore."""

        def finish(connection: sqlite3.Connection) -> bool:
            moved = _move(connection, recording_id, RecordingStatus.STOPPING, RecordingStatus.FINISHED)
            if moved:
                _append(connection, events)
                connection.execute(
                    "UPDATE recordings SET finish_cursor = coalesce("
                    "(SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) WHERE recording_id = ?",
                    (recording_id,),
                )
            return moved

        return await self._database.transact(finish)

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Insert or replace an archive with the events this causes; see RecordingStore."""

        def save(connection: sqlite3.Connection) -> None:
            connection_id = archive.connection.connection_id
            connection.execute(
                "REPLACE INTO archives VALUES (?, ?, ?, ?, ?)",
                (archive.recording_id, connection_id, archive.number, archive.start_wall_ns, _encode(archive)),
            )
            _append(connection, events)

        await self._database.transact(save)

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Return the archives: there are no other nodes."""
        return await self.archives(recording_id)

    async def append(self, events: Sequence[Event]) -> None:
        """Append events that belong to no recording."""
        await self._database.transact(lambda connection: _append(connection, events))

    async def previous_run(self) -> PreviousRun:
        """Return the connections that are open, and when the file was written before it was opened."""

        def read(connection: sqlite3.Connection) -> Sequence[Event]:
            rows = connection.execute("SELECT body FROM open_connections ORDER BY cursor")
            return [_decode_event(body) for (body,) in rows]

        return PreviousRun(await self._database.read(read), self._last_seen_wall_ns)

    async def unfinished_recordings(self) -> Sequence[RecordingState]:
        """Return all recordings that are not FINISHED, oldest first."""

        def read(connection: sqlite3.Connection) -> Sequence[RecordingState]:
            rows = connection.execute(
                "SELECT body FROM recordings WHERE status <> 'finished' ORDER BY start_wall_ns, recording_id"
            )
            return [_decode_recording(body) for (body,) in rows]

        return await self._database.read(read)

    async def archives(self, recording_id: str) -> Sequence[ArchiveState]:
        """Return the archives of a recording in the order of their start."""

        def read(connection: sqlite3.Connection) -> Sequence[ArchiveState]:
            rows = connection.execute(
                "SELECT body FROM archives WHERE recording_id = ? ORDER BY start_wall_ns, connection_id, number",
                (recording_id,),
            )
            return [_decode_archive(body) for (body,) in rows]

        return await self._database.read(read)

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Return the next events of the log."""

        def read(connection: sqlite3.Connection) -> Sequence[StoredEvent]:
            rows = connection.execute(
                "SELECT cursor, body FROM events WHERE cursor > ? ORDER BY cursor LIMIT ?", (cursor, limit)
            )
            return [StoredEvent(place, _decode_event(body)) for place, body in rows]

        return await self._database.read(read)

    async def prune_events(self, cursor: int) -> None:
        """Delete the events up to `cursor`; see RecordingStore."""

        def prune(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events WHERE cursor <= ?", (cursor,))
            for statement in PRUNE:
                connection.execute(statement, (cursor - self._ids_kept,))

        await self._database.transact(prune)


def _unreadable(
    connection: sqlite3.Connection, table: str, key: str, decode: Callable[[bytes], object]
) -> list[tuple[str, dict[str, Any]]]:
    """Return each row that cannot be decoded, and the statement that deletes it."""
    found = []
    for place, body in connection.execute(f"SELECT {key}, body FROM {table}"):
        try:
            decode(body)
        except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError):
            row = {"table": table, "key": place, "body": bytes(body)}  # JSON has the bytes in base64
            found.append((f"DELETE FROM {table} WHERE {key} = ? AND body = ?", row))
    return found


def _move(
    connection: sqlite3.Connection,
    recording_id: str,
    before: RecordingStatus,
    after: RecordingStatus,
    stop_wall_ns: int | None = None,
) -> bool:
    """Compare and set: exactly one caller receives True. A recording that is ACTIVE again has no stop time."""
    row = connection.execute(
        "SELECT body FROM recordings WHERE recording_id = ? AND status = ?", (recording_id, before)
    ).fetchone()
    if row is None:
        return False
    recording = _decode_recording(row[0])
    ended_wall_ns = None if after is RecordingStatus.ACTIVE else stop_wall_ns or recording.stop_wall_ns
    moved = replace(recording, status=after, stop_wall_ns=ended_wall_ns)
    connection.execute(
        "UPDATE recordings SET status = ?, body = ? WHERE recording_id = ?",
        (after, _encode(moved), recording_id),
    )
    return True


def _append(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    for event in events:
        if connection.execute("SELECT 1 FROM event_ids WHERE id = ?", (event.id,)).fetchone() is None:
            place = connection.execute("INSERT INTO events (body) VALUES (?)", (_encode(event),)).lastrowid
            recording_id = str(event.document.get("recording_id", ""))
            connection.execute("INSERT INTO event_ids VALUES (?, ?, ?)", (event.id, recording_id, place))
            _update_open_connections(connection, event, place)


def _remove(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Undo `_append` of events that were not read yet and belong to no connection."""
    for event in events:
        connection.execute(
            "DELETE FROM events WHERE cursor = (SELECT cursor FROM event_ids WHERE id = ?)", (event.id,)
        )
        connection.execute("DELETE FROM event_ids WHERE id = ?", (event.id,))


def _update_open_connections(connection: sqlite3.Connection, event: Event, place: int | None) -> None:
    """Maintain the table of connections that are created and not destroyed."""
    connection_id = event.connection.connection_id if event.connection else ""
    if event.type is EventType.CONNECTION_CREATED:
        connection.execute("INSERT INTO open_connections VALUES (?, ?, ?)", (connection_id, place, _encode(event)))
    elif event.type is EventType.CONNECTION_DESTROYED:
        connection.execute("DELETE FROM open_connections WHERE connection_id = ?", (connection_id,))
