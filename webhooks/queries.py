"""What the daemon, its metrics and its operator read of the outbox. Each function reads one state of the database."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.retention import count_of
from rokuga.webhooks.rows import COLUMNS, read_delivery

OLDEST_PENDING: Final = (
    f"SELECT created_uptime_ns FROM deliveries WHERE state = '{DeliveryState.PENDING}' ORDER BY seq LIMIT 1"
)
SETTLED: Final = """
SELECT 1 FROM deliveries WHERE event_id = ?1
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = ?1 AND state = 'pending') LIMIT 1
"""


def read_cursors(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how far each consumer has read the event log."""
    return dict(connection.execute("SELECT name, cursor FROM consumers").fetchall())


def read_uptime_ns(connection: sqlite3.Connection) -> int:
    """Return the time in which any daemon has run on this outbox, in ns."""
    return int(connection.execute("SELECT uptime_ns FROM outbox_totals").fetchone()[0])


def newest(connection: sqlite3.Connection, state: DeliveryState | None, limit: int) -> Sequence[Delivery]:
    """Return the newest deliveries, of one state or all."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM deliveries WHERE ?1 IS NULL OR state = ?1 ORDER BY seq DESC LIMIT ?2", (state, limit)
    )
    return [read_delivery(row) for row in rows]


def of_event(connection: sqlite3.Connection, event_id: str) -> Delivery | None:
    """Return the delivery of an event; of several the first one that an operator may retry or drop."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM deliveries WHERE event_id = ?"
        " ORDER BY state IN ('pending', 'parked', 'dead') DESC, seq LIMIT 1",
        (event_id,),
    ).fetchone()
    return read_delivery(row) if row else None


def settled_of(connection: sqlite3.Connection, event_ids: Sequence[str]) -> Sequence[str]:
    """Return those of some events that have deliveries, none of which is pending."""
    return [each for each in event_ids if connection.execute(SETTLED, (each,)).fetchone()]


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of deliveries by their state."""
    return dict(connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())


def counters(connection: sqlite3.Connection, uptime_ns: int) -> dict[str, int]:
    """Return the outbox's numbers by their metric names."""
    (pruned,) = connection.execute("SELECT pruned FROM outbox_totals").fetchone()
    created = connection.execute(OLDEST_PENDING).fetchone()
    return {
        "outbox_pending": count_of(connection, DeliveryState.PENDING),
        "outbox_parked": count_of(connection, DeliveryState.PARKED),
        "outbox_dead": count_of(connection, DeliveryState.DEAD),
        "outbox_pruned": pruned,
        "outbox_oldest_ns": uptime_ns - created[0] if created else 0,
    }
