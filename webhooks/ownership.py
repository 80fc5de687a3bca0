"""Cluster singletons: deliver them only where this node owns them, and release them once they are settled.

Release compares what this node owns with what the outbox has settled, again and again: a crash between the delivery
and the release is repaired by the next comparison.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.background import background
from rokuga.recorder.events import CLUSTER_SINGLETONS
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import MinorityError, Owner, StoreError
from rokuga.webhooks.delivery import Delivery, DeliveryResult, DeliveryState
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

OwnerOf = Callable[[str], Awaitable[Owner]]
"""Returns which node of the cluster may publish the event of an id. Raises StoreError."""

OTHER_NODE_NS: Final = 2 * NS_PER_S
"""Pause before the owner of an event is asked for again."""

RELEASE_S: Final = 0.25
"""An ownership may become known later than its event is delivered."""

LAST_RELEASE_S: Final = 2.0
"""Time limit of the last release, at shutdown."""


async def result_of_other_node(
    owner_of: OwnerOf | None, delivery: Delivery, now_wall_ns: int
) -> DeliveryResult | None:
    """Return the result of a delivery that is another node's; None if this node is to attempt it."""
    if owner_of is None or delivery.type not in CLUSTER_SINGLETONS or delivery.is_ours:
        return None
    try:
        owner, reason = await owner_of(delivery.event_id), "another node tells it"
    except StoreError as error:
        owner, reason = Owner.OTHER, str(error)
    match owner:
        case Owner.SELF:
            return None
        case Owner.NOBODY:
            return DeliveryResult(delivery.seq, DeliveryState.SKIPPED, error="another node told it", attempts=0)
        case Owner.OTHER:
            due_wall_ns = now_wall_ns + OTHER_NODE_NS
            return DeliveryResult(delivery.seq, DeliveryState.PENDING, due_wall_ns, reason, attempts=0)


class OwnershipReleaser:
    """Releases while the context lasts. `owned` returns the events that this node owns, `release` releases one."""

    def __init__(
        self, outbox: Outbox, owned: Callable[[], Sequence[str]], release: Callable[[str], Awaitable[None]]
    ) -> None:
        self._outbox = outbox
        self._owned = owned
        self._release = release
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(background(self._run()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_RELEASE_S):
                await self._release_settled()

    async def _run(self) -> None:
        while True:
            self._outbox.settled.clear()
            await self._release_settled()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._outbox.settled.wait()

    async def _release_settled(self) -> None:
        """Release what is settled; where the store fails, the next call does."""
        owned = self._owned()
        try:
            for event_id in await self._outbox.settled_of(owned) if owned else ():
                await self._release(event_id)
        except MinorityError:
            pass
        except StoreError as error:
            log.error("store unavailable, ownership of delivered events not released, retrying", reason=str(error))
