"""The task that delivers: ingest, due deliveries, attempts, results, until the outbox has nothing due; and again.

Deliveries that do not wait for each other (`order.py`) are in flight together, up to `max_in_flight` for each
destination.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoreError
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.consumer import Consumer
from rokuga.webhooks.delivery import DestinationKey
from rokuga.webhooks.destination_queue import DestinationQueue, DispatchContext
from rokuga.webhooks.ingest import Ingest
from rokuga.webhooks.outbox import Outbox
from rokuga.webhooks.ownership import OwnerOf

log = structlog.get_logger()

MAX_SLEEP_S: Final = 5.0
"""The outbox is read at least this often: the command line may have changed it, or the wall clock was set."""

RETRY_S: Final = 1.0
"""Pause after the database failed, as where the disk is full."""


class Dispatcher:
    """Delivers for one consumer while the context lasts; at its end it waits up to `grace_ns` for what is due.

    `chance` returns random numbers of [0, 1). `owner_of` returns which node of a cluster may publish a singleton; it
    is None where there is no cluster.
    """

    def __init__(
        self,
        outbox: Outbox,
        consumer: Consumer,
        config: WebhookConfig,
        clock: Clock,
        grace_ns: int = 5 * NS_PER_S,
        chance: Callable[[], float] = random.random,
        owner_of: OwnerOf | None = None,
    ) -> None:
        self._outbox = outbox
        self._consumer = consumer
        self._clock = clock
        self._grace_ns = grace_ns
        self._ingest = Ingest(outbox, consumer, clock)
        context = DispatchContext(outbox, config, clock, consumer.log, chance, owner_of, self._ingest.news.set)
        self._queues = [
            DestinationQueue(context, DestinationKey(consumer.name, destination.name), destination.sender)
            for destination in consumer.destinations
            if destination.is_enabled
        ]
        self._idle = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start. Raises OSError (ssl.SSLError is one) where the certificates cannot be used."""
        async with AsyncExitStack() as stack:
            for destination in self._consumer.destinations:
                await stack.enter_async_context(destination.sender)
            self._stack = stack.pop_all()
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
            await self._stack.aclose()

    @property
    def delivered(self) -> int:
        """Attempts that were accepted."""
        return sum(queue.delivered for queue in self._queues)

    @property
    def failed(self) -> int:
        """Attempts that were not."""
        return sum(queue.failed for queue in self._queues)

    async def counters(self) -> Mapping[str, int]:
        """Return the outcomes of attempts since the start, by their metric names."""
        return {
            "event_webhook_delivered": self.delivered,
            "event_webhook_failed": self.failed,
            "webhook_log_lines_refused": self._consumer.log.refused_lines,
        }

    async def drain(self, grace_ns: int) -> bool:
        """Wait until nothing is due and nothing in flight; return False if the grace time ended first."""
        self._idle.clear()
        self._ingest.notify()
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
                    log.error("store unavailable, delivery of events paused, retrying", reason=str(error))
                    self._ingest.notify()
                    await asyncio.sleep(RETRY_S)
                except Exception:
                    log.exception("internal error in the webhook dispatcher, retrying")
                    await asyncio.sleep(RETRY_S)

    async def _step(self, posts: asyncio.TaskGroup) -> None:
        """Settle, ingest, start what is due; then sleep until there is something to do."""
        self._ingest.news.clear()
        await self._settle()
        if self._ingest.is_behind:
            await self._ingest.run_once()
        wait_ns = MAX_SLEEP_S * NS_PER_S
        for queue in self._queues:
            next_wall_ns = await queue.start_due(posts)
            if next_wall_ns is not None:
                wait_ns = min(wait_ns, max(next_wall_ns - self._clock.wall_ns(), 0))
        if not any(queue.is_busy for queue in self._queues) and not self._ingest.news.is_set():
            self._idle.set()
        with contextlib.suppress(TimeoutError):  # not wait_for, which in Python 3.11 may lose a cancellation
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await self._ingest.news.wait()
                return
        self._ingest.is_behind = True

    async def _settle(self) -> None:
        """Store the results so far. If the database fails they are kept, and what waits for them waits."""
        results = [(queue, queue.results) for queue in self._queues]
        if any(each for _, each in results):
            await self._outbox.settle([result for _, each in results for result in each])
            for queue, each in results:
                queue.stored(each)
