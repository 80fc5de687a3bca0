"""A webhook consumer that fails on purpose: an error, a connection that breaks, an answer that comes too late."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from rokuga.devtools.serving import serving
from rokuga.devtools.soak.ledger import Event, Ledger

FAILS: Final = 0.1
"""Share of the deliveries that are not accepted."""
MOST_FAILURES: Final = 2
"""So often in a row at most: each repeat waits twice as long, and holds up its channel."""
RESPONSE_TIMEOUT_S: Final = 5
"""The daemon's `webhook_response_timeout`: if the machine stands still for longer, it repeats what was accepted."""


class Consumer:
    """Takes events into a ledger. `on_new` gets each new event, `on_fault` what is wrong about a delivery."""

    def __init__(
        self, ledger: Ledger, seed: int, on_new: Callable[[Event], None], on_fault: Callable[[str, str], None]
    ) -> None:
        self.url = ""
        self.failed_on_purpose = 0
        self._ledger = ledger
        self._random = random.Random(seed)
        self._on_new = on_new
        self._on_fault = on_fault
        self._failures: Counter[str] = Counter()

    async def take(self, request: web.Request) -> web.Response:
        """Take one delivery, and accept it or fail."""
        event: dict[str, Any] = await request.json()
        is_new, faults = self._ledger.deliver(event)
        for fault in faults:
            self._on_fault(event["id"], fault)
        if is_new:
            self._on_new(event)
        if self._failures[event["id"]] == MOST_FAILURES or self._random.random() >= FAILS:
            self._failures.pop(event["id"], None)
            self._ledger.accept(event, time.time_ns())
            return web.Response()
        self._failures[event["id"]] += 1
        self.failed_on_purpose += 1
        return await self._fail(request)

    async def _fail(self, request: web.Request) -> web.Response:
        match self._random.randrange(3):
            case 0:
                return web.Response(status=500)
            case 1:
                assert request.transport is not None
                request.transport.abort()
            case _:
                await asyncio.sleep(RESPONSE_TIMEOUT_S + 1)
        return web.Response(status=503)


@contextlib.asynccontextmanager
async def consuming(consumer: Consumer) -> AsyncIterator[None]:
    """Serve on a free port of the loopback."""
    app = web.Application()
    app.router.add_post("/webhook", consumer.take)
    async with serving(app) as address:
        consumer.url = f"http://{address}/webhook"
        yield
