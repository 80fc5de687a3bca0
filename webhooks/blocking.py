"""Which pending deliveries are blocked by an earlier one of the same destination: the rules of `order.py` in SQL.

`is_blocked` is stored with each delivery and brought up to date when another one is inserted, settled, retried or
dropped. So what is due is read from an index of unblocked deliveries, however many wait behind them. Each function is
a part of a transaction.
"""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from rokuga.webhooks.delivery import Delivery, DestinationKey, Due
from rokuga.webhooks.rows import COLUMNS, Position, read_delivery

_SAME_DESTINATION: Final = (
    "earlier.state = 'pending' AND earlier.consumer = later.consumer AND earlier.destination = later.destination"
)
IS_BLOCKED: Final = f"""(
  later.connection_id <> '' AND EXISTS (
    SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_connections
    WHERE {_SAME_DESTINATION} AND earlier.channel_id = later.channel_id
    AND earlier.connection_id = later.connection_id AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND EXISTS (
    SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_recordings
    WHERE {_SAME_DESTINATION} AND earlier.recording_id = later.recording_id
    AND earlier.connection_id = '' AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND later.connection_id = '' AND EXISTS (
    SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_recordings
    WHERE {_SAME_DESTINATION} AND earlier.recording_id = later.recording_id AND earlier.seq < later.seq)
)"""
"""Whether the delivery `later` waits for another one."""

UPDATE_ONE: Final = (
    f"UPDATE deliveries AS later SET is_blocked = {IS_BLOCKED} WHERE later.seq = ? AND later.state = 'pending'"
)
UPDATE_ALL: Final = f"UPDATE deliveries AS later SET is_blocked = {IS_BLOCKED} WHERE later.state = 'pending'"

NEXT_OF_CONNECTION: Final = """
SELECT min(seq) FROM deliveries INDEXED BY deliveries_connections
WHERE state = 'pending' AND consumer = ? AND destination = ? AND channel_id = ? AND connection_id = ? AND seq > ?
"""
NEXT_OF_RECORDING: Final = """
SELECT min(seq) FROM deliveries INDEXED BY deliveries_recordings
WHERE state = 'pending' AND consumer = ? AND destination = ? AND recording_id = ? AND connection_id = ? AND seq > ?
"""
CONNECTIONS: Final = """
WITH RECURSIVE each (connection_id) AS (
  SELECT min(connection_id) FROM deliveries INDEXED BY deliveries_recordings
  WHERE state = 'pending' AND consumer = ?1 AND destination = ?2 AND recording_id = ?3 AND connection_id > ''
  UNION ALL
  SELECT (SELECT min(connection_id) FROM deliveries INDEXED BY deliveries_recordings
          WHERE state = 'pending' AND consumer = ?1 AND destination = ?2 AND recording_id = ?3
          AND connection_id > each.connection_id)
  FROM each WHERE each.connection_id IS NOT NULL
)
SELECT connection_id FROM each WHERE connection_id IS NOT NULL
"""
"""The connections of a recording, by one seek in the index for each (a loose index scan)."""

UNBLOCKED: Final = (
    "FROM deliveries INDEXED BY deliveries_due"
    " WHERE state = 'pending' AND is_blocked = 0 AND consumer = ? AND destination = ?"
)
NEVER_POSTPONED: Final = f"SELECT seq, channel_id {UNBLOCKED} AND due_wall_ns = 0 ORDER BY seq"
POSTPONED: Final = f"SELECT seq, channel_id {UNBLOCKED} AND due_wall_ns > 0 AND due_wall_ns <= ? ORDER BY due_wall_ns"
BEYOND_ANY_PAUSE: Final = f"SELECT seq, channel_id {UNBLOCKED} AND due_wall_ns > ? ORDER BY due_wall_ns"
NEXT_DUE: Final = f"SELECT min(due_wall_ns) {UNBLOCKED} AND due_wall_ns > ? AND due_wall_ns <= ?"


def update_blocked(connection: sqlite3.Connection, changed: Iterable[Position]) -> None:
    """Update `is_blocked` after deliveries became pending, or are pending no more."""
    for position in changed:
        affected = {position.seq, *_next_ones(connection, position)}
        connection.executemany(UPDATE_ONE, [(seq,) for seq in affected if seq is not None])


def update_blocked_of_new(connection: sqlite3.Connection, seq: int) -> None:
    """Update `is_blocked` of a new delivery, for which no other one waits yet."""
    connection.execute(UPDATE_ONE, (seq,))


def update_all_blocked(connection: sqlite3.Connection) -> None:
    """Update `is_blocked` of all pending deliveries; reads all of them."""
    connection.execute(UPDATE_ALL)


def _next_ones(connection: sqlite3.Connection, position: Position) -> Iterator[int | None]:
    """Yield the deliveries that may wait for this one and no other: the next ones that follow it."""
    seq, key, subject = position
    if subject.connection_id:
        yield _number(connection, NEXT_OF_CONNECTION, *key, subject.channel_id, subject.connection_id, seq)
    if subject.recording_id:
        yield _number(connection, NEXT_OF_RECORDING, *key, subject.recording_id, "", seq)
        if not subject.connection_id:
            for (connection_id,) in connection.execute(CONNECTIONS, (*key, subject.recording_id)).fetchall():
                yield _number(connection, NEXT_OF_RECORDING, *key, subject.recording_id, connection_id, seq)


def _number(connection: sqlite3.Connection, query: str, *values: str | int) -> int | None:
    number: int | None = connection.execute(query, values).fetchone()[0]
    return number


def read_due(
    connection: sqlite3.Connection,
    key: DestinationKey,
    busy: Collection[Delivery],
    limit: int,
    channel_limit: int,
    now_ns: int,
    far_ns: int,
) -> Due:
    """Return up to `limit` deliveries to a destination that are due at `now_ns` and not `busy`, the oldest first.

    Of one channel no more than `channel_limit` are in flight, those that are busy included. What is due later than
    `far_ns` is due now.
    """
    in_flight = {delivery.seq for delivery in busy}
    of_channel = Counter(delivery.channel_id for delivery in busy)
    found: list[int] = []
    kinds = (
        connection.execute(NEVER_POSTPONED, key),
        connection.execute(POSTPONED, (*key, now_ns)),
        connection.execute(BEYOND_ANY_PAUSE, (*key, far_ns)),
    )
    for seq, channel_id in heapq.merge(*kinds):  # returns the oldest of the first of each kind
        if len(found) == limit:
            break
        if seq not in in_flight and of_channel[channel_id] < channel_limit:
            of_channel[channel_id] += 1
            found.append(seq)
    for kind in kinds:
        kind.close()
    rows = (connection.execute(f"SELECT {COLUMNS} FROM deliveries WHERE seq = ?", (seq,)) for seq in found)
    next_wall_ns = _number(connection, NEXT_DUE, *key, now_ns, far_ns)
    return Due([read_delivery(row.fetchone()) for row in rows], next_wall_ns)
