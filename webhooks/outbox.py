"""The outbox: every event of the store's log, until the customer has it.

It takes events over by a cursor that is kept in the same transaction as the rows, so that a crash neither loses an
event nor doubles a row. Only the first pending entry of a channel, its head, is ever due: order per channel, and
channels do not wait for each other. The disk is the queue; there is no other.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.store import StoredEvent
from rokuga.recorder.store.database import Database
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery_table import (
    FORGET_OLD,
    FORGET_SURPLUS,
    HEADS,
    Row,
    forget,
    forget_large,
    hasten,
    insert,
    read_cursor,
    read_entry,
    settle,
)
from rokuga.webhooks.entry import Due, Entry, EntryState, Settled
from rokuga.webhooks.retry_policy import MAX_PAUSE_NS

log = structlog.get_logger()

TAKE_OVER: Final = 500
"""Events that are taken over in one transaction."""

FORGET_AFTER: Final = 1000
"""So many events are left in the store's log before it is told that they were taken over."""


WEIGH_AFTER_BYTES: Final = 4 << 20
"""So much more is kept to look at before all of it is weighed again."""


class EventLog(Protocol):
    """The store, as far as the outbox knows it."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give the next events after `cursor`."""
        ...

    async def forget_events(self, cursor: int) -> None:
        """Let go of the events up to `cursor`."""
        ...


@dataclass(frozen=True, slots=True)
class _TakeOver:
    """The rows of some events, and the cursor behind them."""

    cursor: int
    rows: Sequence[Row]


class Outbox:
    """The delivery table. `notify` says that the store has new events: `news` is set and `is_behind` then.

    `settled` is set when entries were taken over, or attempts noted.
    """

    def __init__(self, path: Path, events: EventLog, config: WebhookConfig, clock: Clock) -> None:
        here = resources.files("rokuga.webhooks")
        scripts = [here.joinpath(name).read_text("utf-8") for name in ("schema.sql", "schema-2.sql")]
        self._database = Database(path, "outbox", scripts)
        self._events = events
        self._config = config
        self._clock = clock
        self._cursor = 0
        self._forgotten = 0
        self._unweighed_bytes = WEIGH_AFTER_BYTES  # what is there from before is weighed with the first
        self._prepared: _TakeOver | None = None
        self.news = asyncio.Event()
        self.settled = asyncio.Event()
        self.notify()

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        try:
            self._cursor = await self._database.read(read_cursor)
        except BaseException:
            await self._database.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    def notify(self) -> None:
        """Say that there may be something new."""
        self.is_behind = True
        self.news.set()

    async def take_over(self, write_log: Callable[[Sequence[bytes]], bool]) -> int:
        """Take the next events of the log; give how many. Call again while `is_behind`. Raises StoreError.

        `write_log` is called in another thread with the bodies before they are kept, and says whether it wrote them.
        """
        if self._prepared is None:
            self.is_behind = False
            stored = await self._events.events_after(self._cursor, TAKE_OVER)
            if not stored:
                return 0
            self._prepared = await asyncio.to_thread(self._prepare, stored, write_log)
        prepared = self._prepared
        self.notify()  # there may be more, and these again if they cannot be kept now
        oldest_wall_ns = self._clock.wall_ns() - self._config.dead_max_age_ns

        def keep(connection: sqlite3.Connection) -> int:
            self._weigh(connection, insert(connection, prepared.rows, prepared.cursor))
            return forget(connection, FORGET_OLD, oldest_wall_ns)

        self._tell_forgotten(await self._database.transact(keep))
        self._cursor, self._prepared = prepared.cursor, None
        self.settled.set()
        if self._cursor - self._forgotten >= FORGET_AFTER:
            await self._events.forget_events(self._cursor)
            self._forgotten = self._cursor
        return len(prepared.rows)

    def _prepare(self, stored: Sequence[StoredEvent], write_log: Callable[[Sequence[bytes]], bool]) -> _TakeOver:
        bodies = [make_body(item.event, self._config) for item in stored]
        if not write_log(bodies):
            bodies = [make_body(item.event, self._config, log_written=False) for item in stored]
        state = EntryState.PENDING if self._config.url else EntryState.UNSENT
        now_wall_ns = self._clock.wall_ns()
        rows = [_row(item.event, body, now_wall_ns, state) for item, body in zip(stored, bodies, strict=True)]
        return _TakeOver(stored[-1].cursor, rows)

    async def due(self, busy: Collection[str], limit: int) -> Due:
        """Give up to `limit` entries to send now: heads of channels that are not `busy`, the oldest first.

        An entry that is due later than any pause lasts was put off before the wall clock was set back: it is due.
        """
        now_ns = self._clock.wall_ns()

        def read(connection: sqlite3.Connection) -> Due:
            heads = [head for head in connection.execute(HEADS) if head[1] not in busy]
            later = [due for _, _, due in heads if now_ns < due <= now_ns + MAX_PAUSE_NS]
            now = [seq for seq, _, due in heads if not now_ns < due <= now_ns + MAX_PAUSE_NS]
            rows = (connection.execute("SELECT * FROM outbox WHERE seq = ?", (seq,)) for seq in now[:limit])
            return Due([read_entry(row.fetchone()) for row in rows], min(later, default=None))

        return await self._database.read(read)

    async def settle(self, outcomes: Sequence[Settled]) -> None:
        """Note what became of attempts, all in one transaction; of too many dead entries the oldest go."""
        is_any_dead = any(each.state is EntryState.DEAD for each in outcomes)

        def write(connection: sqlite3.Connection) -> int:
            self._weigh(connection, settle(connection, outcomes))
            return forget(connection, FORGET_SURPLUS, self._config.dead_max_number) if is_any_dead else 0

        self._tell_forgotten(await self._database.transact(write))
        self.settled.set()

    async def hasten(self, limit: int = -1) -> int:
        """Make entries due that wait because the consumer was away: all, or so many of the oldest; give how many."""
        now_ns = self._clock.wall_ns()
        return await self._database.transact(lambda connection: hasten(connection, now_ns, limit))

    async def settled_of(self, event_ids: Sequence[str]) -> Sequence[str]:
        """Give those of some events that wait no more: delivered, dead, or not to be sent."""

        def read(connection: sqlite3.Connection) -> Sequence[str]:
            states = "SELECT event_id FROM outbox WHERE event_id = ? AND state <> 'pending'"
            return [found for each in event_ids for (found,) in connection.execute(states, (each,))]

        return await self._database.read(read)

    async def entries(self, state: EntryState | None = None, limit: int = 100) -> Sequence[Entry]:
        """Give the newest entries, of one state or all."""

        def read(connection: sqlite3.Connection) -> Sequence[Entry]:
            rows = connection.execute(
                "SELECT * FROM outbox WHERE ?1 IS NULL OR state = ?1 ORDER BY seq DESC LIMIT ?2", (state, limit)
            )
            return [read_entry(row) for row in rows]

        return await self._database.read(read)

    async def entry(self, event_id: str) -> Entry | None:
        """Give one entry by its event's id."""

        def read(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute("SELECT * FROM outbox WHERE event_id = ?", (event_id,)).fetchone()
            return read_entry(row) if row else None

        return await self._database.read(read)

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

        return await self._database.read(read)

    async def probe(self) -> None:
        """Write, as far as the disk. Raises StoreError; waits as long as the database is stuck.

        The number means nothing, but is another one each time: SQLite writes no page that stays as it is.
        """

        def write(connection: sqlite3.Connection) -> None:
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {number ^ 1}")

        await self._database.transact(write)

    async def counters(self) -> dict[str, int]:
        """Give what waits and what was given up, by the names of the table of counters. Raises StoreError."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            count = "SELECT count(*), min(created_wall_ns) FROM outbox WHERE state = ?"
            pending, oldest_wall_ns = connection.execute(count, (EntryState.PENDING,)).fetchone()
            dead, _ = connection.execute(count, (EntryState.DEAD,)).fetchone()
            (forgotten,) = connection.execute("SELECT forgotten FROM outbox_cursor").fetchone()
            age_ns = self._clock.wall_ns() - oldest_wall_ns if pending else 0
            return {
                "outbox_pending": pending,
                "outbox_dead": dead,
                "outbox_forgotten": forgotten,
                "outbox_oldest_milliseconds": max(age_ns, 0) // NS_PER_MS,
            }

        return await self._database.read(read)

    def _weigh(self, connection: sqlite3.Connection, more_bytes: int) -> None:
        """Note that so much more is kept only to be looked at; in the database's thread."""
        self._unweighed_bytes += more_bytes
        if self._unweighed_bytes >= WEIGH_AFTER_BYTES:
            forget_large(connection)
            self._unweighed_bytes = 0

    @staticmethod
    def _tell_forgotten(count: int) -> None:
        if count:
            log.warning("events that were given up are forgotten: they are too old or too many", count=count)

    async def _change(self, statement: str, event_id: str | None) -> int:
        def write(connection: sqlite3.Connection) -> int:
            if event_id is None:
                return connection.execute(statement).rowcount
            return connection.execute(f"{statement} AND event_id = ?", (event_id,)).rowcount

        changed = await self._database.transact(write)
        self.notify()
        return changed


def _row(event: Event, body: bytes, now_wall_ns: int, state: EntryState) -> Row:
    connection = event.connection
    session_id, connection_id = (connection.session_id, connection.connection_id) if connection else ("", "")
    return event.id, event.type, event.channel_id, session_id, connection_id, body, now_wall_ns, state
