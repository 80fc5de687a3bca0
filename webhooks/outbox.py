"""The outbox: every event of the store's log, until the customer has it.

It takes events over by a cursor that is kept in the same transaction as the rows, so that a crash neither loses an
event nor doubles a row. Only the first pending entry of a channel is ever due: order per channel, and channels do not
wait for each other. The disk is the queue; there is no other.
"""

import asyncio
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.store import StoredEvent
from rokuga.recorder.store.database import Database
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig

TAKE_OVER: Final = 500
"""Events that are taken over in one transaction."""

KEEP_DELIVERED: Final = 10_000
"""So many delivered entries are kept to look at."""


class EntryState(StrEnum):
    """Where an entry stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way. `body` is what is sent, byte for byte, at each attempt."""

    seq: int
    event_id: str
    type: str
    channel_id: str
    session_id: str
    connection_id: str
    body: bytes
    created_wall_ns: int
    state: EntryState
    attempts: int
    due_wall_ns: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an attempt: delivered, dead, or pending until `due_wall_ns`."""

    seq: int
    state: EntryState
    due_wall_ns: int = 0
    error: str = ""


class EventLog(Protocol):
    """The store, as far as the outbox knows it."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give the next events after `cursor`."""
        ...


class Outbox:
    """The delivery table. `notify` says that the store has new events; `news` is set then."""

    def __init__(self, path: Path, events: EventLog, config: WebhookConfig, clock: Clock) -> None:
        schema = resources.files("rokuga.webhooks").joinpath("schema.sql").read_text("utf-8")
        self._database = Database(path, "outbox", [schema])
        self._events = events
        self._config = config
        self._clock = clock
        self.news = asyncio.Event()
        self.news.set()

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    def notify(self) -> None:
        """Say that there may be something new."""
        self.news.set()

    async def take_over(self) -> Sequence[Entry]:
        """Take the next events of the log; give the entries made of them. Call until nothing comes."""
        cursor = await self._database.transact(_read_cursor)
        stored = await self._events.events_after(cursor, TAKE_OVER)
        if not stored:
            return []
        state = EntryState.PENDING if self._config.url else EntryState.UNSENT
        rows = [self._row(item.event, state) for item in stored]

        def insert(connection: sqlite3.Connection) -> Sequence[Entry]:
            if _read_cursor(connection) != cursor:
                return []
            connection.executemany(
                "INSERT OR IGNORE INTO outbox (event_id, type, channel_id, session_id, connection_id, body,"
                " created_wall_ns, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute("UPDATE outbox_cursor SET cursor = ?", (stored[-1].cursor,))
            taken = connection.execute("SELECT * FROM outbox ORDER BY seq DESC LIMIT ?", (len(rows),)).fetchall()
            return [_entry(row) for row in reversed(taken)]

        return await self._database.transact(insert)

    async def due(self, busy: Collection[str], limit: int) -> Sequence[Entry]:
        """Give entries to send now: heads of channels that are not `busy`, the oldest first."""
        now_ns = self._clock.wall_ns()

        def read(connection: sqlite3.Connection) -> Sequence[Entry]:
            rows = connection.execute(
                "SELECT * FROM outbox WHERE seq IN (SELECT min(seq) FROM outbox WHERE state = 'pending'"
                " GROUP BY channel_id) AND due_wall_ns <= ? ORDER BY seq",
                (now_ns,),
            )
            heads = []
            for row in rows:
                if row[3] not in busy:
                    heads.append(_entry(row))
                    if len(heads) == limit:
                        break
            return heads

        return await self._database.transact(read)

    async def next_due_wall_ns(self) -> int | None:
        """Give when the next head of a channel is due; None if nothing is pending."""

        def read(connection: sqlite3.Connection) -> int | None:
            row = connection.execute(
                "SELECT min(due_wall_ns) FROM outbox WHERE seq IN (SELECT min(seq) FROM outbox"
                " WHERE state = 'pending' GROUP BY channel_id)"
            ).fetchone()
            return int(row[0]) if row[0] is not None else None

        return await self._database.transact(read)

    async def settle(self, outcomes: Sequence[Settled]) -> None:
        """Note what became of attempts, all in one transaction."""

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE outbox SET state = ?, due_wall_ns = ?, last_error = ?, attempts = attempts + 1 WHERE seq = ?",
                [(outcome.state, outcome.due_wall_ns, outcome.error, outcome.seq) for outcome in outcomes],
            )
            connection.execute(
                "DELETE FROM outbox WHERE state IN ('delivered', 'unsent') AND seq <= (SELECT seq FROM outbox"
                " WHERE state IN ('delivered', 'unsent') ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (KEEP_DELIVERED,),
            )

        await self._database.transact(write)

    async def entries(self, state: EntryState | None = None, limit: int = 100) -> Sequence[Entry]:
        """Give the newest entries, of one state or all."""

        def read(connection: sqlite3.Connection) -> Sequence[Entry]:
            rows = connection.execute(
                "SELECT * FROM outbox WHERE ?1 IS NULL OR state = ?1 ORDER BY seq DESC LIMIT ?2", (state, limit)
            )
            return [_entry(row) for row in rows]

        return await self._database.transact(read)

    async def entry(self, event_id: str) -> Entry | None:
        """Give one entry by its event's id."""

        def read(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute("SELECT * FROM outbox WHERE event_id = ?", (event_id,)).fetchone()
            return _entry(row) if row else None

        return await self._database.transact(read)

    async def retry(self, event_id: str | None = None) -> int:
        """Make a dead or waiting entry due now, or all of them; give how many there were."""
        return await self._change(
            "UPDATE outbox SET state = 'pending', due_wall_ns = 0 WHERE state IN ('dead', 'pending')", event_id
        )

    async def drop(self, event_id: str) -> int:
        """Forget an entry that is not delivered; give how many there were."""
        return await self._change("DELETE FROM outbox WHERE state IN ('dead', 'pending')", event_id)

    async def counts(self) -> dict[str, int]:
        """Give how many entries there are of each state."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(connection.execute("SELECT state, count(*) FROM outbox GROUP BY state").fetchall())

        return await self._database.transact(read)

    async def _change(self, statement: str, event_id: str | None) -> int:
        def write(connection: sqlite3.Connection) -> int:
            if event_id is None:
                return connection.execute(statement).rowcount
            return connection.execute(f"{statement} AND event_id = ?", (event_id,)).rowcount

        changed = await self._database.transact(write)
        self.notify()
        return changed

    def _row(self, event: Event, state: EntryState) -> tuple[str, str, str, str, str, bytes, int, str]:
        connection = event.connection
        return (
            event.id,
            event.type,
            event.channel_id,
            connection.session_id if connection else "",
            connection.connection_id if connection else "",
            make_body(event, self._config),
            self._clock.wall_ns(),
            state,
        )


def _read_cursor(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT cursor FROM outbox_cursor").fetchone()[0])


def _entry(row: Sequence[Any]) -> Entry:
    """Read a row: the columns of the table are Entry's fields, in order."""
    values = list(row)
    values[8] = EntryState(values[8])
    return Entry(*values)
