"""The table `deliveries` as SQL: insert, settle, park, retry, drop. Each function is a part of a transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rokuga.webhooks.blocking import update_all_blocked, update_blocked, update_blocked_of_new
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState, DestinationKey
from rokuga.webhooks.rows import COLUMNS, INSERT, POSITION_COLUMNS, NewRow, Position, read_delivery, read_position

UNSETTLED: Final = "event_id = ? AND state IN ('pending', 'parked', 'dead')"
"""What an operator may retry or drop, by the id of its event: one delivery for each destination."""

PARKED_OF_TYPE: Final = f"""
SELECT {POSITION_COLUMNS} FROM deliveries INDEXED BY deliveries_parked
WHERE state = 'parked' AND consumer = ? AND destination = ? AND type = ? ORDER BY attempts, seq LIMIT ?
"""
"""Those with the fewest attempts first, and of these the oldest."""


def insert(connection: sqlite3.Connection, rows: Sequence[NewRow]) -> int:
    """Insert new deliveries; return the bytes of those that are skipped. What is there already is left as it is."""
    for row in rows:
        inserted = connection.execute(INSERT, row)
        if inserted.rowcount and inserted.lastrowid and row.state == DeliveryState.PENDING:
            update_blocked_of_new(connection, inserted.lastrowid)
    return sum(len(row.body) for row in rows if row.state == DeliveryState.SKIPPED)


def settle(connection: sqlite3.Connection, results: Sequence[DeliveryResult]) -> int:
    """Store the results of attempts; return the bytes of what is delivered."""
    connection.executemany(
        "UPDATE deliveries SET state = ?1, due_wall_ns = ?2, last_error = ?3, is_away = ?4, attempts = attempts + ?5,"
        " is_ours = max(is_ours, ?1 IN ('dead', 'parked')) WHERE seq = ?6",
        [(each.state, each.due_wall_ns, each.error, each.is_away, each.attempts, each.seq) for each in results],
    )
    settled = [each.seq for each in results if each.state is not DeliveryState.PENDING]
    update_blocked(connection, _positions(connection, f"seq IN ({_marks(settled)})", settled))
    delivered = [each.seq for each in results if each.state is DeliveryState.DELIVERED]
    sizes = f"SELECT coalesce(sum(length(body)), 0) FROM deliveries WHERE seq IN ({_marks(delivered)})"
    return int(connection.execute(sizes, delivered).fetchone()[0])


def retry_one(connection: sqlite3.Connection, event_id: str) -> int:
    """Make the pending, parked and dead deliveries of an event due now; return how many there were."""
    found = _positions(connection, UNSETTLED, [event_id])
    _make_pending(connection, found)
    return len(found)


def retry_all(connection: sqlite3.Connection) -> int:
    """Make all pending, parked and dead deliveries due now; return how many there were."""
    changed = connection.execute(
        "UPDATE deliveries SET state = 'pending', due_wall_ns = 0 WHERE state IN ('pending', 'parked', 'dead')"
    ).rowcount
    update_all_blocked(connection)
    return changed


def drop(connection: sqlite3.Connection, event_id: str) -> int:
    """Delete the deliveries of an event that are pending, parked or dead; return how many there were."""
    found = _positions(connection, UNSETTLED, [event_id])
    connection.executemany("DELETE FROM deliveries WHERE seq = ?", [(position.seq,) for position in found])
    update_blocked(connection, found)
    return len(found)


def unpark(connection: sqlite3.Connection, key: DestinationKey, event_type: str, limit: int) -> int:
    """Make up to `limit` parked deliveries of a type pending again; return how many there were."""
    found = [read_position(row) for row in connection.execute(PARKED_OF_TYPE, (*key, event_type, limit))]
    _make_pending(connection, found)
    return len(found)


def parked_of_type(connection: sqlite3.Connection, key: DestinationKey, event_type: str) -> Delivery | None:
    """Return the parked delivery of a type that was attempted least."""
    row = connection.execute(PARKED_OF_TYPE, (*key, event_type, 1)).fetchone()
    if row is None:
        return None
    query = f"SELECT {COLUMNS} FROM deliveries WHERE seq = ?"
    return read_delivery(connection.execute(query, (read_position(row).seq,)).fetchone())


def give_up_parked(connection: sqlite3.Connection, oldest_uptime_ns: int) -> int:
    """Make parked deliveries dead that were created earlier than this; return how many there were."""
    return connection.execute(
        "UPDATE deliveries INDEXED BY deliveries_parked_since SET state = 'dead'"
        " WHERE state = 'parked' AND created_uptime_ns < ?",
        (oldest_uptime_ns,),
    ).rowcount


def make_due(connection: sqlite3.Connection, key: DestinationKey, now_wall_ns: int, limit: int) -> int:
    """Make deliveries due that wait because their destination was away, the oldest first; return how many.

    A `limit` of -1 means all.
    """
    return connection.execute(
        "UPDATE deliveries SET due_wall_ns = 0 WHERE seq IN (SELECT seq FROM deliveries INDEXED BY deliveries_away"
        " WHERE state = 'pending' AND is_away = 1 AND consumer = ? AND destination = ? AND due_wall_ns > ?"
        " ORDER BY seq LIMIT ?)",
        (*key, now_wall_ns, limit),
    ).rowcount


def shift_due(connection: sqlite3.Connection, step_ns: int) -> None:
    """Move all due times by a step of the wall clock."""
    connection.execute(
        "UPDATE deliveries SET due_wall_ns = max(due_wall_ns + ?, 1) WHERE state = 'pending' AND due_wall_ns > 0",
        (step_ns,),
    )


def store_cursor(connection: sqlite3.Connection, consumer: str, cursor: int) -> None:
    """Store how far a consumer has read the event log."""
    connection.execute(
        "INSERT INTO consumers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET cursor = max(cursor, excluded.cursor)",
        (consumer, cursor),
    )


def store_uptime(connection: sqlite3.Connection, uptime_ns: int) -> None:
    """Store the time in which any daemon has run on this outbox, in ns."""
    connection.execute("UPDATE outbox_totals SET uptime_ns = max(uptime_ns, ?)", (uptime_ns,))


def _positions(connection: sqlite3.Connection, where: str, values: Sequence[int | str]) -> list[Position]:
    query = f"SELECT {POSITION_COLUMNS} FROM deliveries WHERE {where}"
    return [read_position(row) for row in connection.execute(query, values)]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _make_pending(connection: sqlite3.Connection, found: Sequence[Position]) -> None:
    connection.executemany(
        "UPDATE deliveries SET state = 'pending', due_wall_ns = 0 WHERE seq = ?",
        [(position.seq,) for position in found],
    )
    update_blocked(connection, found)
