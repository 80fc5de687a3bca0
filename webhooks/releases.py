"""Lets go of what this node had to tell for its whole cluster, once it is delivered, given up or not to be sent.

It looks at what is claimed and at what became of it, so that a crash between the two is made good by looking again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from rokuga.recorder.background import background
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.webhooks.outbox import Outbox

log = structlog.get_logger()

LOOK_S: Final = 0.25
"""A claim may be heard of later than its event is delivered."""

LAST_S: Final = 2.0
"""For what was delivered last, at the end."""


class Releases:
    """Releases while the context lasts. `claimed` gives the events that this node claims, `release` lets one go."""

    def __init__(
        self,
        outbox: Outbox,
        claimed: Callable[[], Sequence[str]],
        release: Callable[[str], Awaitable[None]],
    ) -> None:
        self._outbox = outbox
        self._claimed = claimed
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
            async with asyncio.timeout(LAST_S):
                await self._look()

    async def _run(self) -> None:
        while True:
            self._outbox.settled.clear()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._outbox.settled.wait()

    async def _look(self) -> None:
        """Release what can be; the rest later."""
        claimed = self._claimed()
        try:
            for event_id in await self._outbox.settled_of(claimed) if claimed else ():
                await self._release(event_id)
        except MinorityError:
            pass
        except StoreError as error:
            log.error("what was delivered cannot be told to the cluster", reason=str(error))
