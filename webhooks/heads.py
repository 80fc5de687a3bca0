"""Which waiting entries are heads, in SQL: those that wait for no other one, by the rules of `order.py`.

Whether an entry is a head is kept with it and brought up to date where another one comes, leaves or returns, so that
what is due is read from an index of heads alone, however much waits behind them. Each function is a part of a
transaction.
"""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from rokuga.webhooks.entry import Due, Entry
from rokuga.webhooks.order import Place
from rokuga.webhooks.rows import COLUMNS, read_entry

WAITS: Final = """(
  later.connection_id <> '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier INDEXED BY outbox_connections
    WHERE earlier.state = 'pending' AND earlier.channel_id = later.channel_id
    AND earlier.connection_id = later.connection_id AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier INDEXED BY outbox_recordings
    WHERE earlier.state = 'pending' AND earlier.recording_id = later.recording_id
    AND earlier.connection_id = '' AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND later.connection_id = '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier INDEXED BY outbox_recordings
    WHERE earlier.state = 'pending' AND earlier.recording_id = later.recording_id AND earlier.seq < later.seq)
)"""
"""Whether the entry `later` waits for another one."""

UPDATE_ONE: Final = (
    f"UPDATE outbox AS later SET is_head = NOT {WAITS} WHERE later.seq = ? AND later.state = 'pending'"
)
UPDATE_ALL: Final = f"UPDATE outbox AS later SET is_head = NOT {WAITS} WHERE later.state = 'pending'"

NEXT_OF_CONNECTION: Final = """
SELECT min(seq) FROM outbox INDEXED BY outbox_connections
WHERE state = 'pending' AND channel_id = ? AND connection_id = ? AND seq > ?
"""
NEXT_OF_RECORDING: Final = """
SELECT min(seq) FROM outbox INDEXED BY outbox_recordings
WHERE state = 'pending' AND recording_id = ? AND connection_id = ? AND seq > ?
"""
CONNECTIONS: Final = """
WITH RECURSIVE each (connection_id) AS (
  SELECT min(connection_id) FROM outbox INDEXED BY outbox_recordings
  WHERE state = 'pending' AND recording_id = ?1 AND connection_id > ''
  UNION ALL
  SELECT (SELECT min(connection_id) FROM outbox INDEXED BY outbox_recordings
          WHERE state = 'pending' AND recording_id = ?1 AND connection_id > each.connection_id)
  FROM each WHERE each.connection_id IS NOT NULL
)
SELECT connection_id FROM each WHERE connection_id IS NOT NULL
"""
"""Steps from connection to connection through the index."""

HEADS: Final = "FROM outbox INDEXED BY outbox_heads WHERE state = 'pending' AND is_head = 1"
FRESH: Final = f"SELECT seq, channel_id {HEADS} AND due_wall_ns = 0 ORDER BY seq"
AGAIN: Final = f"SELECT seq, channel_id {HEADS} AND due_wall_ns > 0 AND due_wall_ns <= ? ORDER BY due_wall_ns"
TOO_LATE: Final = f"SELECT seq, channel_id {HEADS} AND due_wall_ns > ? ORDER BY due_wall_ns"
NEXT_DUE: Final = f"SELECT min(due_wall_ns) {HEADS} AND due_wall_ns > ? AND due_wall_ns <= ?"


def update_heads(connection: sqlite3.Connection, changed: Iterable[tuple[int, Place]]) -> None:
    """Bring heads up to date after entries (by number and place) came, left or returned."""
    for seq, place in changed:
        affected = {seq, *_next_ones(connection, seq, place)}
        connection.executemany(UPDATE_ONE, [(each,) for each in affected if each is not None])


def update_new_head(connection: sqlite3.Connection, seq: int) -> None:
    """Note whether a new entry is a head; nothing waits for it yet."""
    connection.execute(UPDATE_ONE, (seq,))


def update_all_heads(connection: sqlite3.Connection) -> None:
    """Bring all heads up to date; reads all that waits."""
    connection.execute(UPDATE_ALL)


def _next_ones(connection: sqlite3.Connection, seq: int, place: Place) -> Iterator[int | None]:
    """Give the entries that may wait for an entry and for no other one: the next ones that follow it."""
    if place.connection_id:
        yield _number(connection, NEXT_OF_CONNECTION, place.channel_id, place.connection_id, seq)
    if place.recording_id:
        yield _number(connection, NEXT_OF_RECORDING, place.recording_id, "", seq)
        if not place.connection_id:
            for (connection_id,) in connection.execute(CONNECTIONS, (place.recording_id,)).fetchall():
                yield _number(connection, NEXT_OF_RECORDING, place.recording_id, connection_id, seq)


def _number(connection: sqlite3.Connection, query: str, *values: str | int) -> int | None:
    number: int | None = connection.execute(query, values).fetchone()[0]
    return number


def read_due(
    connection: sqlite3.Connection,
    busy: Collection[Entry],
    limit: int,
    most_of_channel: int,
    now_ns: int,
    far_ns: int,
) -> Due:
    """Give up to `limit` heads that are due at `now_ns` and not `busy`; of one channel no more than the other number.

    The oldest come first. What is due later than `far_ns` is due now.
    """
    in_flight = {entry.seq for entry in busy}
    of_channel = Counter(entry.channel_id for entry in busy)
    found: list[int] = []
    kinds = (connection.execute(FRESH), connection.execute(AGAIN, (now_ns,)), connection.execute(TOO_LATE, (far_ns,)))
    for seq, channel_id in heapq.merge(*kinds):  # takes the oldest of the first of each kind
        if len(found) == limit:
            break
        if seq not in in_flight and of_channel[channel_id] < most_of_channel:
            of_channel[channel_id] += 1
            found.append(seq)
    for kind in kinds:
        kind.close()
    rows = (connection.execute(f"SELECT {COLUMNS} FROM outbox WHERE seq = ?", (seq,)) for seq in found)
    return Due([read_entry(row.fetchone()) for row in rows], _number(connection, NEXT_DUE, now_ns, far_ns))
