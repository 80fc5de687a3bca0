"""The delivery table as SQL: what it keeps, what it gives, what goes. Each function is a part of a transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from rokuga.webhooks.entry import Entry, EntryState, Settled

KEEP_DELIVERED: Final = 10_000
"""Delivered entries are kept to look at while they are among so many newest ones."""

KEEP_DELIVERED_BYTES: Final = 64 << 20
"""And while their bodies and those of newer ones are no larger: 10,000 of usual events have a tenth of it."""

HEADS: Final = """
WITH RECURSIVE channels (channel_id) AS (
  SELECT min(channel_id) FROM outbox INDEXED BY outbox_heads WHERE state = 'pending'
  UNION ALL
  SELECT (SELECT min(channel_id) FROM outbox INDEXED BY outbox_heads
          WHERE state = 'pending' AND channel_id > channels.channel_id)
  FROM channels WHERE channels.channel_id IS NOT NULL
)
SELECT head.seq, head.channel_id, head.due_wall_ns
FROM channels JOIN outbox AS head ON head.seq =
  (SELECT min(seq) FROM outbox INDEXED BY outbox_heads WHERE state = 'pending' AND channel_id = channels.channel_id)
ORDER BY head.seq
"""
"""Steps from channel to channel through the index: the cost is that of the channels, not of all that waits.

Left alone, SQLite would choose the index of states and read everything that waits for each channel.
"""


FORGET_LARGE: Final = """
DELETE FROM outbox WHERE state IN ('delivered', 'unsent') AND seq <= (
  SELECT max(seq) FROM (
    SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) AS bytes
    FROM outbox WHERE state IN ('delivered', 'unsent')
  ) WHERE bytes > ?
)
"""
FORGET_OLD: Final = "DELETE FROM outbox INDEXED BY outbox_dead WHERE state = 'dead' AND created_wall_ns < ?"
FORGET_SURPLUS: Final = """
DELETE FROM outbox WHERE state = 'dead' AND seq <= (
  SELECT seq FROM outbox INDEXED BY outbox_states WHERE state = 'dead' ORDER BY seq DESC LIMIT 1 OFFSET ?
)
"""

Row = tuple[str, str, str, str, str, bytes, int, str]
"""The columns of a new entry: ids, type and names, body, time, state."""


def insert(connection: sqlite3.Connection, rows: Sequence[Row], cursor: int) -> int:
    """Keep new entries with the cursor behind them, and drop what was delivered long ago.

    Gives the bytes of the new ones that are not to be sent.
    """
    connection.executemany(
        "INSERT OR IGNORE INTO outbox (event_id, type, channel_id, session_id, connection_id, body, created_wall_ns,"
        " state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.execute("UPDATE outbox_cursor SET cursor = max(cursor, ?)", (cursor,))
    connection.execute(
        "DELETE FROM outbox WHERE state IN ('delivered', 'unsent') AND seq <= (SELECT max(seq) FROM outbox) - ?",
        (KEEP_DELIVERED,),
    )
    return sum(len(body) for *_, body, _, state in rows if state == EntryState.UNSENT)


def settle(connection: sqlite3.Connection, outcomes: Sequence[Settled]) -> int:
    """Note what became of attempts; give the bytes of what is delivered."""
    connection.executemany(
        "UPDATE outbox SET state = ?, due_wall_ns = ?, last_error = ?, is_away = ?, attempts = attempts + ?"
        " WHERE seq = ?",
        [(each.state, each.due_wall_ns, each.error, each.is_away, each.attempts, each.seq) for each in outcomes],
    )
    delivered = [each.seq for each in outcomes if each.state is EntryState.DELIVERED]
    sizes = f"SELECT coalesce(sum(length(body)), 0) FROM outbox WHERE seq IN ({','.join('?' * len(delivered))})"
    return int(connection.execute(sizes, delivered).fetchone()[0])


def forget_large(connection: sqlite3.Connection) -> None:
    """Drop the oldest of what is delivered or not to be sent until the rest is small enough; reads all sizes."""
    connection.execute(FORGET_LARGE, (KEEP_DELIVERED_BYTES,))


def hasten(connection: sqlite3.Connection, now_wall_ns: int, limit: int) -> int:
    """Make entries due that wait because the consumer was away, the oldest first, -1 for all; give how many."""
    return connection.execute(
        "UPDATE outbox SET due_wall_ns = 0 WHERE seq IN (SELECT seq FROM outbox INDEXED BY outbox_away"
        " WHERE state = 'pending' AND is_away = 1 AND due_wall_ns > ? ORDER BY seq LIMIT ?)",
        (now_wall_ns, limit),
    ).rowcount


def forget(connection: sqlite3.Connection, statement: str, limit: int) -> int:
    """Drop dead entries that are beyond a limit, and count them; give how many."""
    forgotten = connection.execute(statement, (limit,)).rowcount
    if forgotten:
        connection.execute("UPDATE outbox_cursor SET forgotten = forgotten + ?", (forgotten,))
    return forgotten


def read_cursor(connection: sqlite3.Connection) -> int:
    """Give how far the store's log was taken over."""
    return int(connection.execute("SELECT cursor FROM outbox_cursor").fetchone()[0])


def read_entry(row: Sequence[Any]) -> Entry:
    """Read a row: the columns of the table are Entry's fields, in order."""
    values = list(row)
    values[8], values[12] = EntryState(values[8]), bool(values[12])
    return Entry(*values)
