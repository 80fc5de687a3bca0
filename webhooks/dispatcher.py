"""The separate task that delivers: due entries > post > outcome, until the outbox is empty, and again.

Events that do not wait for each other (`order.py`) are in flight together, up to `max_in_flight`. A consumer that was
away is asked once a minute, and gets all that waits for it as soon as it takes something. What it refuses for good is
parked; one parked event of each type is tried once a minute, and brings the others of its type when it is taken.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import CLUSTER_SINGLETONS
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import Owner, StoreError
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.entry import DeliveryResult, Entry, EntryState
from rokuga.webhooks.log import WebhookLog
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import (
    Delivered,
    Outcome,
    Refused,
    Unreachable,
    is_away,
    is_parked,
    next_attempt_ns,
)

log = structlog.get_logger()

MAX_SLEEP_S: Final = 5.0
"""The outbox is looked at at least this often: the command line may have changed it, or somebody the wall clock."""

AWAY_NS: Final = 5 * NS_PER_S
"""A consumer that took nothing for so long was away, as far as we know: what it takes next says that it is back."""

PROBE_NS: Final = 60 * NS_PER_S
"""When nothing was tried for so long, the oldest entry of a consumer that is away asks whether it is back."""

TRY_PARKED_NS: Final = 60 * NS_PER_S
"""After so long a parked event of each type is tried again."""

UNPARK: Final = 500
"""So many parked events return in one transaction."""

PAUSE_S: Final = 1.0
"""Pause after the database failed (disk full): nothing is lost by waiting."""

OTHER_NODE_NS: Final = 2 * NS_PER_S
"""Pause after which it is asked again whether another node still has the telling of an event that we have, too."""


class Dispatcher:
    """Delivers while the context lasts; leaving it waits up to `grace_ns` for what is due now to be delivered.

    `chance` gives random numbers of [0, 1). `whose` says which node of a cluster may tell an event of a recording,
    None where there is no cluster. `delivered` and `failed` count attempts.
    """

    def __init__(
        self,
        outbox: Outbox,
        config: WebhookConfig,
        clock: Clock,
        grace_ns: int = 5 * NS_PER_S,
        chance: Callable[[], float] = random.random,
        whose: Callable[[str], Awaitable[Owner]] | None = None,
    ) -> None:
        """Take everything it needs. Raises ValueError for a secret that is no key."""
        self._outbox = outbox
        self._config = config
        self._clock = clock
        self._grace_ns = grace_ns
        self._chance = chance
        self._whose = whose
        self._log = WebhookLog(config.log_dir, redact=config.redact)
        self._poster = Poster(config)
        self._busy: dict[int, Entry] = {}
        self._outcomes: list[tuple[Entry, DeliveryResult]] = []
        self._idle = asyncio.Event()
        self._attempted_ns = clock.monotonic_ns()
        self._accepted_ns: int | None = None
        self._is_back = False
        self._tried_parked_ns = clock.monotonic_ns()
        self._refused_types: set[str] = set()
        self._returning_types: set[str] = set()
        self.delivered = 0
        self.failed = 0

    async def __aenter__(self) -> Self:
        """Begin. Raises OSError (ssl.SSLError is one) where the certificates cannot be used."""
        await self._poster.__aenter__()
        self._running = asyncio.create_task(self._run(), name="webhook dispatcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.drain(self._grace_ns)
        finally:
            self._running.cancel()
            await asyncio.wait([self._running])
            with contextlib.suppress(StoreError):  # what was delivered last is delivered again at the next start
                await self._settle()
            await self._poster.__aexit__(kind, error, traceback)

    async def counters(self) -> Mapping[str, int]:
        """Give what became of its attempts since the start, by the names of the daemon's table of counters."""
        return {
            "event_webhook_delivered": self.delivered,
            "event_webhook_failed": self.failed,
            "webhook_log_lines_refused": self._log.refused_lines,
        }

    async def drain(self, grace_ns: int) -> bool:
        """Wait until nothing is due and nothing in flight; False if the grace time ended first."""
        self._idle.clear()
        self._outbox.notify()
        try:
            async with asyncio.timeout(grace_ns / NS_PER_S):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as posts:
            while True:
                try:
                    await self._step(posts)
                except StoreError as error:
                    log.error("the outbox cannot be read or written", reason=str(error))
                    self._outbox.notify()
                    await asyncio.sleep(PAUSE_S)
                except Exception:
                    log.exception("unexpected fault of the dispatcher")
                    await asyncio.sleep(PAUSE_S)

    async def _step(self, posts: asyncio.TaskGroup) -> None:
        """Settle, take over, send what is due; then sleep until there is something to do."""
        self._outbox.news.clear()
        await self._settle()
        if self._outbox.is_behind:
            await self._outbox.ingest(self._log.events)
        await self._make_due()
        if self._config.url:
            await self._look_after_parked(posts)
        wait_ns = MAX_SLEEP_S * NS_PER_S
        room = self._config.max_in_flight - len(self._busy)
        if room > 0 and self._config.url:
            due = await self._outbox.due(list(self._busy.values()), room)
            for entry in due.entries:
                self._start(posts, entry)
            if due.next_wall_ns is not None:
                wait_ns = min(wait_ns, max(due.next_wall_ns - self._clock.wall_ns(), 0))
        if not self._busy and not self._outbox.news.is_set():
            self._idle.set()
        with contextlib.suppress(TimeoutError):  # not wait_for, which in Python 3.11 may lose a cancellation
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await self._outbox.news.wait()
                return
        self._outbox.is_behind = True

    async def _make_due(self) -> None:
        """Have all that waits sent at once to a consumer that is back; ask one that is away from time to time."""
        if self._is_back:
            await self._outbox.make_due()
            self._is_back = False
        elif (
            not (self._busy or self._config.max_attempts)
            and self._clock.monotonic_ns() - self._attempted_ns >= PROBE_NS
        ):
            self._attempted_ns = self._clock.monotonic_ns()
            await self._outbox.make_due(1)

    async def _look_after_parked(self, posts: asyncio.TaskGroup) -> None:
        """Bring back the types of which the consumer took a parked event; try one of each type from time to time.

        Not with a number of attempts that is limited, which that would use up.
        """
        for event_type in list(self._returning_types):
            if await self._outbox.unpark(event_type, UNPARK) < UNPARK:
                self._returning_types.discard(event_type)
            else:
                self._outbox.news.set()
        if self._clock.monotonic_ns() - self._tried_parked_ns < TRY_PARKED_NS:
            return
        self._tried_parked_ns = self._clock.monotonic_ns()
        for entry in await self._outbox.parked_to_try():
            is_free = len(self._busy) < self._config.max_in_flight and entry.seq not in self._busy
            if is_free and self._config.max_attempts is None:
                self._start(posts, entry)

    def _start(self, posts: asyncio.TaskGroup, entry: Entry) -> None:
        self._busy[entry.seq] = entry
        posts.create_task(self._send(entry))

    async def _send(self, entry: Entry) -> None:
        """Make one attempt. The entry stays busy until the outcome is stored: else it would be sent again."""
        settled = await self._owned_by_other_node(entry) or await self._attempt(entry)
        self._outcomes.append((entry, settled))
        self._outbox.news.set()

    async def _owned_by_other_node(self, entry: Entry) -> DeliveryResult | None:
        """Say what becomes of an event that another node of our cluster tells, or told; None if it is ours."""
        if self._whose is None or entry.type not in CLUSTER_SINGLETONS or entry.is_ours:
            return None
        try:
            whose, reason = await self._whose(entry.event_id), "another node tells it"
        except StoreError as error:
            whose, reason = Owner.OTHER, str(error)
        match whose:
            case Owner.SELF:
                return None
            case Owner.NOBODY:
                return DeliveryResult(entry.seq, EntryState.SKIPPED, error="another node told it", attempts=0)
            case Owner.OTHER:
                due_wall_ns = self._clock.wall_ns() + OTHER_NODE_NS
                return DeliveryResult(entry.seq, EntryState.PENDING, due_wall_ns, reason, attempts=0)

    async def _attempt(self, entry: Entry) -> DeliveryResult:
        self._attempted_ns = self._clock.monotonic_ns()
        try:
            outcome = await self._poster.post(entry, self._clock.wall_ns())
        except Exception as error:
            log.exception("unexpected fault of a post", event_id=entry.event_id)
            outcome = Unreachable(f"{type(error).__name__}: {error}")
        settled = self._result(entry, outcome)
        if settled.state is not EntryState.DELIVERED:
            await asyncio.to_thread(
                self._log.failure, entry, settled.error, self._clock.wall_ns(), settled.due_wall_ns or None
            )
        return settled

    async def _settle(self) -> None:
        """Store the outcomes so far. If the database fails they wait, and what waits for them does."""
        outcomes = self._outcomes[:]
        if outcomes:
            await self._outbox.settle([settled for _, settled in outcomes])
            del self._outcomes[: len(outcomes)]
            for entry, _ in outcomes:
                del self._busy[entry.seq]

    def _result(self, entry: Entry, outcome: Outcome) -> DeliveryResult:
        """Decide what becomes of an entry."""
        if isinstance(outcome, Delivered):
            self.delivered += 1
            self._note_accepted(entry)
            return DeliveryResult(entry.seq, EntryState.DELIVERED)
        self.failed += 1
        reason = f"status {outcome.status} {outcome.reason}" if isinstance(outcome, Refused) else outcome.reason
        pause_ns = next_attempt_ns(
            outcome,
            entry.attempts + 1,
            self._outbox.uptime_ns - entry.created_uptime_ns,
            self._chance(),
            self._config.max_attempts,
            self._config.max_age_ns,
        )
        if pause_ns is None:
            log.warning("an event is given up", type=entry.type, event_id=entry.event_id, reason=reason.strip())
            return DeliveryResult(entry.seq, EntryState.DEAD, error=reason.strip())
        if entry.state is EntryState.PARKED or is_parked(outcome, entry.attempts + 1):
            self._note_parked(entry, reason.strip())
            return DeliveryResult(entry.seq, EntryState.PARKED, error=reason.strip())
        due_wall_ns = self._clock.wall_ns() + pause_ns
        return DeliveryResult(entry.seq, EntryState.PENDING, due_wall_ns, reason.strip(), is_away=is_away(outcome))

    def _note_parked(self, entry: Entry, reason: str) -> None:
        """Log that the consumer refuses events of a type, once until it takes one: there may be many a second."""
        if entry.type not in self._refused_types:
            self._refused_types.add(entry.type)
            log.warning(
                "the consumer refuses an event for good: it is parked, and so are others of its type from now on",
                type=entry.type,
                event_id=entry.event_id,
                reason=reason,
            )

    def _note_accepted(self, entry: Entry) -> None:
        """See from an event that was taken that the consumer is back, if nothing was taken for a while.

        And from one that was parked that it takes its type.
        """
        self._refused_types.discard(entry.type)
        if entry.state is EntryState.PARKED:
            self._returning_types.add(entry.type)
        now_ns = self._clock.monotonic_ns()
        self._is_back |= self._accepted_ns is None or now_ns - self._accepted_ns >= AWAY_NS
        self._accepted_ns = now_ns
