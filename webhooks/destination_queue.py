"""One destination of a dispatcher: what is in flight to it, and what its responses say about it.

A destination that was away is probed once a minute, and gets all that waits for it as soon as it accepts something.
What it refuses for good is parked; one parked delivery of each type is tried once a minute, and when that is accepted
the others of its type become pending again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import ConsumerLog, Sender
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState, DestinationKey
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.ownership import OwnerOf, result_of_other_node
from rokuga.webhooks.retry_policy import Unreachable, result_of

log = structlog.get_logger()

AWAY_NS: Final = 5 * NS_PER_S
"""A destination that accepted nothing for so long was away: what it accepts next shows that it is back."""

PROBE_NS: Final = 60 * NS_PER_S
"""When nothing was attempted for so long, the oldest delivery to a destination that is away is."""

TRY_PARKED_NS: Final = 60 * NS_PER_S
"""Pause between attempts of a parked delivery of each type."""

UNPARK_LIMIT: Final = 500
"""Parked deliveries that become pending again in one transaction."""


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """What all destinations of a dispatcher use. `chance` returns random numbers of [0, 1)."""

    outbox: Outbox
    config: WebhookConfig
    clock: Clock
    log: ConsumerLog
    chance: Callable[[], float]
    owner_of: OwnerOf | None
    wake: Callable[[], None]
    """Called when there is a result to settle, or more to do at once."""


class DestinationQueue:
    """Deliveries to one destination. `delivered` and `failed` count attempts.

    A delivery is busy from its attempt until its result is stored: else it would be sent again.
    """

    def __init__(self, context: DispatchContext, key: DestinationKey, sender: Sender) -> None:
        self._context = context
        self._key = key
        self._sender = sender
        self._busy: dict[int, Delivery] = {}
        self._results: list[DeliveryResult] = []
        self._attempted_ns = context.clock.monotonic_ns()
        self._accepted_ns: int | None = None
        self._is_back = False
        self._tried_parked_ns = context.clock.monotonic_ns()
        self._refused_types: set[str] = set()
        self._returning_types: set[str] = set()
        self.delivered = 0
        self.failed = 0

    @property
    def is_busy(self) -> bool:
        """Whether a delivery is in flight, or its result is not stored."""
        return bool(self._busy)

    @property
    def results(self) -> list[DeliveryResult]:
        """The results that are not stored yet."""
        return self._results[:]

    def stored(self, results: list[DeliveryResult]) -> None:
        """Note that the oldest results are stored: these."""
        del self._results[: len(results)]
        for each in results:
            del self._busy[each.seq]

    async def start_due(self, posts: asyncio.TaskGroup) -> int | None:
        """Start what is due; return when the next delivery becomes due (None: none does). Raises StoreError."""
        await self._make_due()
        await self._unpark()
        await self._try_parked(posts)
        free = self._context.config.max_in_flight - len(self._busy)
        if free <= 0:
            return None
        due = await self._context.outbox.due(self._key, list(self._busy.values()), free)
        for delivery in due.deliveries:
            self._start(posts, delivery)
        return due.next_wall_ns

    async def _make_due(self) -> None:
        """Make all due that waits for a destination that is back; from time to time the oldest for one that is away.

        Not the latter with a limited number of attempts, which it would use up.
        """
        now_ns = self._context.clock.monotonic_ns()
        if self._is_back:
            await self._context.outbox.make_due(self._key)
            self._is_back = False
        elif not (self._busy or self._context.config.max_attempts) and now_ns - self._attempted_ns >= PROBE_NS:
            self._attempted_ns = now_ns
            await self._context.outbox.make_due(self._key, 1)

    async def _unpark(self) -> None:
        """Make parked deliveries pending again whose type is accepted."""
        for event_type in list(self._returning_types):
            if await self._context.outbox.unpark(self._key, event_type, UNPARK_LIMIT) < UNPARK_LIMIT:
                self._returning_types.discard(event_type)
            else:
                self._context.wake()

    async def _try_parked(self, posts: asyncio.TaskGroup) -> None:
        """From time to time, attempt a parked delivery of each type, unless the number of attempts is limited."""
        now_ns, config = self._context.clock.monotonic_ns(), self._context.config
        if now_ns - self._tried_parked_ns < TRY_PARKED_NS:
            return
        self._tried_parked_ns = now_ns
        for delivery in await self._context.outbox.parked_to_try(self._key):
            is_free = len(self._busy) < config.max_in_flight and delivery.seq not in self._busy
            if is_free and config.max_attempts is None:
                self._start(posts, delivery)

    def _start(self, posts: asyncio.TaskGroup, delivery: Delivery) -> None:
        self._busy[delivery.seq] = delivery
        posts.create_task(self._send(delivery))

    async def _send(self, delivery: Delivery) -> None:
        now_wall_ns = self._context.clock.wall_ns()
        result = await result_of_other_node(self._context.owner_of, delivery, now_wall_ns)
        self._results.append(result or await self._attempt(delivery))
        self._context.wake()

    async def _attempt(self, delivery: Delivery) -> DeliveryResult:
        context, clock = self._context, self._context.clock
        self._attempted_ns = clock.monotonic_ns()
        try:
            outcome = await self._sender.send(delivery, clock.wall_ns())
        except Exception as error:
            log.exception("internal error, attempt counted as failed", event_id=delivery.event_id)
            outcome = Unreachable(f"{type(error).__name__}: {error}")
        result = result_of(
            delivery, outcome, context.config, context.chance(), clock.wall_ns(), context.outbox.uptime_ns
        )
        self._note(delivery, result)
        if result.state is not DeliveryState.DELIVERED:
            next_wall_ns = result.due_wall_ns or None
            await asyncio.to_thread(context.log.failure, delivery, result.error, clock.wall_ns(), next_wall_ns)
        return result

    def _note(self, delivery: Delivery, result: DeliveryResult) -> None:
        """Count a result, log it, and conclude from it how the destination is."""
        about = {"type": delivery.type, "event_id": delivery.event_id, "reason": result.error}
        if result.state is DeliveryState.DELIVERED:
            self.delivered += 1
            self._note_accepted(delivery)
            return
        self.failed += 1
        if result.state is DeliveryState.DEAD:
            log.warning("event not delivered, given up", **about)
        elif result.state is DeliveryState.PARKED and delivery.type not in self._refused_types:
            self._refused_types.add(delivery.type)  # logged once, until one is accepted: there may be many a second
            log.warning("event refused, parked; further ones of its type are parked without a log line", **about)

    def _note_accepted(self, delivery: Delivery) -> None:
        """Conclude that the destination is back, if it accepted nothing for a while, and accepts a parked type."""
        self._refused_types.discard(delivery.type)
        if delivery.state is DeliveryState.PARKED:
            self._returning_types.add(delivery.type)
        now_ns = self._context.clock.monotonic_ns()
        self._is_back |= self._accepted_ns is None or now_ns - self._accepted_ns >= AWAY_NS
        self._accepted_ns = now_ns
