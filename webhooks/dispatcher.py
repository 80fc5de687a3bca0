"""The separate task that delivers: due entries > post > outcome, until the outbox is empty, and again.

One POST a channel is in flight, and `max_in_flight` in all: a consumer that hangs holds up its own channel only.
"""

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoreError
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.log import WebhookLog
from rokuga.webhooks.outbox import Entry, EntryState, Outbox, Settled
from rokuga.webhooks.post import Poster
from rokuga.webhooks.retry_policy import Delivered, Outcome, Refused, next_attempt_ns

log = structlog.get_logger()

MAX_SLEEP_S: Final = 60.0
"""The outbox is looked at at least this often: a wall clock that was set back must not hold entries."""

STORE_PAUSE_S: Final = 1.0
"""Pause after the database failed (disk full): nothing is lost by waiting."""


class Dispatcher:
    """Delivers while the context lasts; leaving it waits up to `grace_s` for what is due now to be delivered."""

    def __init__(self, outbox: Outbox, config: WebhookConfig, clock: Clock, grace_s: float = 5.0) -> None:
        self._outbox = outbox
        self._config = config
        self._clock = clock
        self._grace_s = grace_s
        self._poster = Poster(config)
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._outcomes: list[tuple[Entry, Settled]] = []
        self._chance = random.random
        self._idle = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._log = WebhookLog(self._config.log_dir, redact=self._config.redact)
        self._stack.callback(self._log.close)
        await self._stack.enter_async_context(self._poster)
        self._running = asyncio.create_task(self._run(), name="webhook dispatcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drain(), self._grace_s)
        for task in (self._running, *self._in_flight.values()):
            task.cancel()
        await asyncio.gather(self._running, *self._in_flight.values(), return_exceptions=True)
        with contextlib.suppress(StoreError):  # what was delivered last is delivered again at the next start
            await self._settle()
        await self._stack.aclose()

    async def _drain(self) -> None:
        """Wait until nothing is due and nothing in flight."""
        self._idle.clear()
        self._outbox.notify()
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except StoreError as error:
                log.error("the outbox cannot be read or written", reason=str(error))
                await asyncio.sleep(STORE_PAUSE_S)

    async def _step(self) -> None:
        """Take over, settle, send what is due; then sleep until there is something to do."""
        self._outbox.news.clear()
        await self._settle()
        while entries := await self._outbox.take_over():
            for entry in entries:
                self._log.event(entry)
        room = self._config.max_in_flight - len(self._in_flight)
        if room > 0 and self._config.url:
            for entry in await self._outbox.due(self._in_flight.keys(), room):
                self._in_flight[entry.channel_id] = asyncio.create_task(self._send(entry))
        if not self._in_flight and not self._outcomes and not self._outbox.news.is_set():
            self._idle.set()
        sleep_s = await self._sleep_s()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._outbox.news.wait(), sleep_s)

    async def _sleep_s(self) -> float:
        """How long nothing becomes due by itself: what is due already waits for its channel or for room."""
        due_wall_ns = await self._outbox.next_due_wall_ns()
        if due_wall_ns is None:
            return MAX_SLEEP_S
        wait_s = (due_wall_ns - self._clock.wall_ns()) / NS_PER_S
        return min(wait_s, MAX_SLEEP_S) if wait_s > 0 else MAX_SLEEP_S

    async def _send(self, entry: Entry) -> None:
        """Make one attempt. The channel stays in flight until the outcome is stored: else it would be sent again."""
        outcome = await self._poster.post(entry, self._clock.wall_ns())
        self._outcomes.append((entry, self._settled(entry, outcome)))
        self._outbox.notify()

    async def _settle(self) -> None:
        outcomes = self._outcomes[:]
        if outcomes:
            await self._outbox.settle([settled for _, settled in outcomes])
            del self._outcomes[: len(outcomes)]
            for entry, _ in outcomes:
                del self._in_flight[entry.channel_id]

    def _settled(self, entry: Entry, outcome: Outcome) -> Settled:
        """Decide what becomes of an entry."""
        if isinstance(outcome, Delivered):
            return Settled(entry.seq, EntryState.DELIVERED)
        reason = f"status {outcome.status}" if isinstance(outcome, Refused) else outcome.reason
        now_wall_ns = self._clock.wall_ns()
        self._log.failure(entry, reason, now_wall_ns)
        pause_ns = next_attempt_ns(
            outcome,
            entry.attempts + 1,
            now_wall_ns - entry.created_wall_ns,
            self._chance(),
            self._config.max_attempts,
            self._config.max_age_ns,
        )
        if pause_ns is None:
            log.warning("an event is given up", type=entry.type, event_id=entry.event_id, reason=reason)
            return Settled(entry.seq, EntryState.DEAD, error=reason)
        return Settled(entry.seq, EntryState.PENDING, now_wall_ns + pause_ns, reason)
