"""The outbox: every event of the store's log, until the customer has it.

It takes events over by a cursor that is kept in the same transaction as the rows, so that a crash neither loses an
event nor doubles a row. Only what waits for no other entry by the rules of `order.py` is ever due. The disk is the
queue; there is no other. Ages are of the time for which the outbox has been in use, which is summed up on the disk:
no step of the wall clock ends anything.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import EventType
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import ANSWER_TIMEOUT_S, StoredEvent
from rokuga.recorder.store.database import Database
from rokuga.webhooks.bodies import make_body
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery_table import (
    PARKED_OF_TYPE,
    PRUNE_OLD,
    PRUNE_SURPLUS,
    bury_parked,
    count_of,
    drop,
    insert,
    make_due,
    note_uptime,
    prune,
    prune_by_size,
    read_cursor,
    retry_all,
    retry_one,
    settle,
    shift_due,
    unpark,
)
from rokuga.webhooks.entry import DeliveryResult, Due, Entry, EntryState
from rokuga.webhooks.heads import read_due
from rokuga.webhooks.retry_policy import MAX_PAUSE_NS
from rokuga.webhooks.rows import COLUMNS, Row, new_row, read_entry

log = structlog.get_logger()

INGEST_LIMIT: Final = 500
"""Events that are taken over in one transaction."""

PRUNE_AFTER: Final = 1000
"""So many events are left in the store's log before it is told that they were taken over."""

PRUNE_AFTER_BYTES: Final = 4 << 20
"""So much more is kept to look at before all of it is weighed again."""

SCHEMAS: Final = ("schema.sql", "schema-2.sql", "schema-3.sql")

MIN_STEP_NS: Final = NS_PER_S
"""The wall clock was set where it and the monotonic clock are so far from each other."""


class EventLog(Protocol):
    """The store, as far as the outbox knows it."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give the next events after `cursor`."""
        ...

    async def prune_events(self, cursor: int) -> None:
        """Let go of the events up to `cursor`."""
        ...


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of some events, and the cursor behind them."""

    cursor: int
    rows: Sequence[Row]


class Outbox:
    """The delivery table. `notify` says that the store has new events: `news` is set and `is_behind` then.

    `settled` is set when entries were taken over, or attempts noted.
    """

    def __init__(self, path: Path, events: EventLog, config: WebhookConfig, clock: Clock) -> None:
        here = resources.files("rokuga.webhooks")
        scripts = [here.joinpath(name).read_text("utf-8") for name in SCHEMAS]
        self._database = Database(path, "outbox", scripts)
        self._events = events
        self._config = config
        self._clock = clock
        self._cursor = 0
        self._forgotten = 0
        self._room = dict.fromkeys((EntryState.DEAD, EntryState.PARKED), 0)  # so many may be added uncounted
        self._uptime_at_zero_ns = 0
        self._wall_at_zero_ns = clock.wall_ns() - clock.monotonic_ns()
        self._unpruned_bytes = PRUNE_AFTER_BYTES  # what is there from before is weighed with the first
        self._prepared: _Batch | None = None
        self.news = asyncio.Event()
        self.settled = asyncio.Event()
        self.notify()

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        try:
            self._cursor, uptime_ns = await self._database.read(read_cursor)
        except BaseException:
            await self._database.__aexit__(None, None, None)
            raise
        self._uptime_at_zero_ns = uptime_ns - self._clock.monotonic_ns()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    @property
    def uptime_ns(self) -> int:
        """For how long the outbox has been in use, by this daemon and those before it."""
        return self._uptime_at_zero_ns + self._clock.monotonic_ns()

    def notify(self) -> None:
        """Say that there may be something new."""
        self.is_behind = True
        self.news.set()

    async def ingest(self, write_log: Callable[[Sequence[bytes]], bool]) -> int:
        """Take the next events of the log; give how many. Call again while `is_behind`. Raises StoreError.

        `write_log` is called in another thread with the bodies before they are kept, and says whether it wrote them.
        """
        if self._prepared is None:
            self.is_behind = False
            stored = await self._events.events_after(self._cursor, INGEST_LIMIT)
            if not stored:
                return 0
            self._prepared = await asyncio.to_thread(self._prepare, stored, write_log)
        prepared = self._prepared
        self.notify()  # there may be more, and these again if they cannot be kept now
        uptime_ns = self.uptime_ns

        def keep(connection: sqlite3.Connection) -> int:
            self._prune_by_size(connection, insert(connection, prepared.rows, prepared.cursor))
            note_uptime(connection, uptime_ns)
            return prune(connection, PRUNE_OLD, uptime_ns - self._config.dead_max_age_ns)

        self._log_pruned(await self._database.transact(keep))
        self._cursor, self._prepared = prepared.cursor, None
        self.settled.set()
        if self._cursor - self._forgotten >= PRUNE_AFTER:
            await self._events.prune_events(self._cursor)
            self._forgotten = self._cursor
        return len(prepared.rows)

    def _prepare(self, stored: Sequence[StoredEvent], write_log: Callable[[Sequence[bytes]], bool]) -> _Batch:
        bodies = [make_body(item.event, self._config) for item in stored]
        if not write_log(bodies):
            bodies = [make_body(item.event, self._config, log_written=False) for item in stored]
        state = EntryState.PENDING if self._config.url else EntryState.SKIPPED
        wall_ns, uptime_ns = self._clock.wall_ns(), self.uptime_ns
        rows = [
            new_row(item.event, body, wall_ns, uptime_ns, state) for item, body in zip(stored, bodies, strict=True)
        ]
        return _Batch(stored[-1].cursor, rows)

    async def due(self, busy: Collection[Entry], limit: int) -> Due:
        """Give up to `limit` entries to send now, none of those that are `busy`, the oldest first.

        A channel has a quarter of all that may be in flight at most, so that a consumer that is slow with it does not
        delay the others. An entry that is due later than any pause lasts was put off before the wall clock was set
        back: it is due.
        """
        await self._follow_clock()
        now_ns, most_of_channel = self._clock.wall_ns(), max(self._config.max_in_flight // 4, 1)
        return await self._database.read(
            lambda connection: read_due(connection, busy, limit, most_of_channel, now_ns, now_ns + MAX_PAUSE_NS)
        )

    async def _follow_clock(self) -> None:
        """Have all pauses last as long as they should where the wall clock was set."""
        step_ns = self._clock.wall_ns() - self._clock.monotonic_ns() - self._wall_at_zero_ns
        if abs(step_ns) >= MIN_STEP_NS:
            await self._database.transact(lambda connection: shift_due(connection, step_ns))
            self._wall_at_zero_ns += step_ns

    async def parked_to_try(self) -> Sequence[Entry]:
        """Give a parked entry of each type, the least tried; those that are too old are dead from now on."""
        oldest_uptime_ns = self.uptime_ns - self._config.max_age_ns

        def choose(connection: sqlite3.Connection) -> tuple[int, Sequence[Entry]]:
            forgotten = self._make_room(connection, [EntryState.DEAD] * bury_parked(connection, oldest_uptime_ns))
            chosen = (connection.execute(PARKED_OF_TYPE, (each, 1)).fetchone() for each in EventType)
            return forgotten, [_by_number(connection, row[0]) for row in chosen if row is not None]

        forgotten, entries = await self._database.transact(choose)
        self._log_pruned(forgotten)
        return entries

    async def unpark(self, event_type: str, limit: int) -> int:
        """Have up to so many parked entries of a type wait again, in their order; give how many there were."""
        return await self._database.transact(lambda connection: unpark(connection, event_type, limit))

    async def settle(self, outcomes: Sequence[DeliveryResult]) -> None:
        """Note what became of attempts, all in one transaction; of too many dead or parked entries the oldest go."""
        uptime_ns = self.uptime_ns

        def write(connection: sqlite3.Connection) -> int:
            self._prune_by_size(connection, settle(connection, outcomes))
            note_uptime(connection, uptime_ns)
            return self._make_room(connection, [each.state for each in outcomes])

        self._log_pruned(await self._database.transact(write))
        self.settled.set()

    def _make_room(self, connection: sqlite3.Connection, added: Iterable[EntryState]) -> int:
        """Drop the oldest of too many dead or parked entries, a hundredth at a time; give how many.

        They are counted only when there may be too many: a consumer may refuse many a second.
        """
        forgotten, most = 0, self._config.dead_max_number
        for state, count in Counter(each for each in added if each in self._room).items():
            self._room[state] -= count
            if self._room[state] < 0:
                if (surplus := count_of(connection, state) - most) > 0:
                    kept = most - most // 100
                    forgotten += prune(connection, PRUNE_SURPLUS, state, kept)
                    self._room[state] = most - kept
                else:
                    self._room[state] = -surplus
        return forgotten

    async def make_due(self, limit: int = -1) -> int:
        """Make entries due that wait because the consumer was away: all, or so many of the oldest; give how many."""
        now_ns = self._clock.wall_ns()
        return await self._database.transact(lambda connection: make_due(connection, now_ns, limit))

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
                f"SELECT {COLUMNS} FROM outbox WHERE ?1 IS NULL OR state = ?1 ORDER BY seq DESC LIMIT ?2",
                (state, limit),
            )
            return [read_entry(row) for row in rows]

        return await self._database.read(read)

    async def entry(self, event_id: str) -> Entry | None:
        """Give one entry by its event's id."""

        def read(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute(f"SELECT {COLUMNS} FROM outbox WHERE event_id = ?", (event_id,)).fetchone()
            return read_entry(row) if row else None

        return await self._database.read(read)

    async def retry(self, event_id: str | None = None) -> int:
        """Make a dead, parked or waiting entry due now, or all of them; give how many there were."""
        if event_id is None:
            return await self._change(retry_all)
        return await self._change(lambda connection: retry_one(connection, event_id))

    async def drop(self, event_id: str) -> int:
        """Forget an entry that is not delivered; give how many there were."""
        return await self._change(lambda connection: drop(connection, event_id))

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
            note_uptime(connection, self.uptime_ns)

        await self._database.transact(write)

    async def counters(self) -> dict[str, int]:
        """Give what waits and what was given up, by the names of the table of counters. Raises StoreError."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            oldest = f"SELECT created_uptime_ns FROM outbox WHERE state = '{EntryState.PENDING}' ORDER BY seq LIMIT 1"
            (forgotten,) = connection.execute("SELECT forgotten FROM outbox_cursor").fetchone()
            since_ns = connection.execute(oldest).fetchone()
            return {
                "outbox_pending": count_of(connection, EntryState.PENDING),
                "outbox_parked": count_of(connection, EntryState.PARKED),
                "outbox_dead": count_of(connection, EntryState.DEAD),
                "outbox_pruned": forgotten,
                "outbox_oldest_ns": self.uptime_ns - since_ns[0] if since_ns else 0,
            }

        return await self._database.read(read)

    def _prune_by_size(self, connection: sqlite3.Connection, more_bytes: int) -> None:
        """Note that so much more is kept only to be looked at; in the database's thread."""
        self._unpruned_bytes += more_bytes
        if self._unpruned_bytes >= PRUNE_AFTER_BYTES:
            prune_by_size(connection)
            self._unpruned_bytes = 0

    @staticmethod
    def _log_pruned(count: int) -> None:
        if count:
            log.warning("events that were given up are forgotten: they are too old or too many", count=count)

    async def _change(self, work: Callable[[sqlite3.Connection], int]) -> int:
        changed = await self._database.transact(work, within_s=ANSWER_TIMEOUT_S)
        self.notify()
        return changed


def _by_number(connection: sqlite3.Connection, seq: int) -> Entry:
    return read_entry(connection.execute(f"SELECT {COLUMNS} FROM outbox WHERE seq = ?", (seq,)).fetchone())
