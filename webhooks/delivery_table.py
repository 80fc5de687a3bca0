"""The delivery table as SQL: what it keeps, what it gives, what goes. Each function is a part of a transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rokuga.webhooks.entry import DeliveryResult, EntryState
from rokuga.webhooks.heads import update_all_heads, update_heads, update_new_head
from rokuga.webhooks.order import Place
from rokuga.webhooks.rows import INSERT, Row

KEEP_DELIVERED: Final = 10_000
"""Delivered entries are kept to look at while they are among so many newest ones."""

KEEP_DELIVERED_BYTES: Final = 64 << 20
"""And while their bodies and those of newer ones are no larger: 10,000 of usual events have a tenth of it."""

PRUNE_BY_SIZE: Final = """
DELETE FROM outbox WHERE state IN ('delivered', 'unsent') AND seq <= (
  SELECT max(seq) FROM (
    SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) AS bytes
    FROM outbox WHERE state IN ('delivered', 'unsent')
  ) WHERE bytes > ?
)
"""
PRUNE_OLD: Final = "DELETE FROM outbox INDEXED BY outbox_dead WHERE state = 'dead' AND created_uptime_ns < ?"
PRUNE_SURPLUS: Final = """
DELETE FROM outbox WHERE state = ?1 AND seq <= (
  SELECT seq FROM outbox INDEXED BY outbox_states WHERE state = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2
)
"""
PARKED_OF_TYPE: Final = """
SELECT seq, channel_id, connection_id, recording_id FROM outbox INDEXED BY outbox_parked
WHERE state = 'parked' AND type = ? ORDER BY attempts, seq LIMIT ?
"""
"""The least tried first, and the oldest of them."""

Numbered = tuple[int, Place]
"""An entry's number and place."""


def insert(connection: sqlite3.Connection, rows: Sequence[Row], cursor: int) -> int:
    """Keep new entries with the cursor behind them, and drop what was delivered long ago.

    Gives the bytes of the new ones that are not to be sent.
    """
    for row in rows:
        inserted = connection.execute(INSERT, row)
        if inserted.rowcount and inserted.lastrowid and row[-1] == EntryState.PENDING:
            update_new_head(connection, inserted.lastrowid)
    connection.execute("UPDATE outbox_cursor SET cursor = max(cursor, ?)", (cursor,))
    connection.execute(
        "DELETE FROM outbox WHERE state IN ('delivered', 'unsent') AND seq <= (SELECT max(seq) FROM outbox) - ?",
        (KEEP_DELIVERED,),
    )
    return sum(len(body) for *_, body, _, _, state in rows if state == EntryState.SKIPPED)


def settle(connection: sqlite3.Connection, outcomes: Sequence[DeliveryResult]) -> int:
    """Note what became of attempts; give the bytes of what is delivered."""
    connection.executemany(
        "UPDATE outbox SET state = ?1, due_wall_ns = ?2, last_error = ?3, is_away = ?4, attempts = attempts + ?5,"
        " is_ours = max(is_ours, ?1 IN ('dead', 'parked')) WHERE seq = ?6",
        [(each.state, each.due_wall_ns, each.error, each.is_away, each.attempts, each.seq) for each in outcomes],
    )
    settled = [each.seq for each in outcomes if each.state is not EntryState.PENDING]
    update_heads(connection, _numbered(connection, f"seq IN ({_marks(settled)})", settled))
    delivered = [each.seq for each in outcomes if each.state is EntryState.DELIVERED]
    sizes = f"SELECT coalesce(sum(length(body)), 0) FROM outbox WHERE seq IN ({_marks(delivered)})"
    return int(connection.execute(sizes, delivered).fetchone()[0])


def retry_one(connection: sqlite3.Connection, event_id: str) -> int:
    """Make a waiting, parked or dead entry due now; give how many there were."""
    found = _numbered(connection, "event_id = ? AND state IN ('pending', 'parked', 'dead')", [event_id])
    _revive(connection, found)
    return len(found)


def retry_all(connection: sqlite3.Connection) -> int:
    """Make all waiting, parked and dead entries due now; give how many there were."""
    changed = connection.execute(
        "UPDATE outbox SET state = 'pending', due_wall_ns = 0 WHERE state IN ('pending', 'parked', 'dead')"
    ).rowcount
    update_all_heads(connection)
    return changed


def unpark(connection: sqlite3.Connection, event_type: str, limit: int) -> int:
    """Have up to so many parked entries of a type wait again, in their order; give how many there were."""
    rows = connection.execute(PARKED_OF_TYPE, (event_type, limit)).fetchall()
    _revive(connection, [(seq, Place(*names)) for seq, *names in rows])
    return len(rows)


def drop(connection: sqlite3.Connection, event_id: str) -> int:
    """Forget an entry that is not delivered; give how many there were."""
    found = _numbered(connection, "event_id = ? AND state IN ('pending', 'parked', 'dead')", [event_id])
    connection.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq, _ in found])
    update_heads(connection, found)
    return len(found)


def bury_parked(connection: sqlite3.Connection, oldest_uptime_ns: int) -> int:
    """Give up the parked entries that came before this; give how many there were."""
    return connection.execute(
        "UPDATE outbox INDEXED BY outbox_parked_since SET state = 'dead'"
        " WHERE state = 'parked' AND created_uptime_ns < ?",
        (oldest_uptime_ns,),
    ).rowcount


def shift_due(connection: sqlite3.Connection, step_ns: int) -> None:
    """Move what is due later by a step of the wall clock."""
    connection.execute(
        "UPDATE outbox SET due_wall_ns = max(due_wall_ns + ?, 1) WHERE state = 'pending' AND due_wall_ns > 0",
        (step_ns,),
    )


def note_uptime(connection: sqlite3.Connection, uptime_ns: int) -> None:
    """Note for how long the outbox has been in use."""
    connection.execute("UPDATE outbox_cursor SET uptime_ns = max(uptime_ns, ?)", (uptime_ns,))


def _numbered(connection: sqlite3.Connection, where: str, values: Sequence[int | str]) -> list[Numbered]:
    query = f"SELECT seq, channel_id, connection_id, recording_id FROM outbox WHERE {where}"
    return [(seq, Place(*names)) for seq, *names in connection.execute(query, values)]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _revive(connection: sqlite3.Connection, found: Sequence[Numbered]) -> None:
    connection.executemany(
        "UPDATE outbox SET state = 'pending', due_wall_ns = 0 WHERE seq = ?", [(seq,) for seq, _ in found]
    )
    update_heads(connection, found)


def prune_by_size(connection: sqlite3.Connection) -> None:
    """Drop the oldest of what is delivered or not to be sent until the rest is small enough; reads all sizes."""
    connection.execute(PRUNE_BY_SIZE, (KEEP_DELIVERED_BYTES,))


def make_due(connection: sqlite3.Connection, now_wall_ns: int, limit: int) -> int:
    """Make entries due that wait because the consumer was away, the oldest first, -1 for all; give how many."""
    return connection.execute(
        "UPDATE outbox SET due_wall_ns = 0 WHERE seq IN (SELECT seq FROM outbox INDEXED BY outbox_away"
        " WHERE state = 'pending' AND is_away = 1 AND due_wall_ns > ? ORDER BY seq LIMIT ?)",
        (now_wall_ns, limit),
    ).rowcount


def prune(connection: sqlite3.Connection, statement: str, *values: int | str) -> int:
    """Drop entries that are beyond a limit, and count them; give how many."""
    forgotten = connection.execute(statement, values).rowcount
    if forgotten:
        connection.execute("UPDATE outbox_cursor SET forgotten = forgotten + ?", (forgotten,))
    return forgotten


def count_of(connection: sqlite3.Connection, state: EntryState) -> int:
    """Give how many entries there are of a state."""
    return int(connection.execute("SELECT count(*) FROM outbox WHERE state = ?", (state,)).fetchone()[0])


def read_cursor(connection: sqlite3.Connection) -> tuple[int, int]:
    """Give how far the store's log was taken over, and for how long the outbox has been in use."""
    cursor, uptime_ns = connection.execute("SELECT cursor, uptime_ns FROM outbox_cursor").fetchone()
    return cursor, uptime_ns
