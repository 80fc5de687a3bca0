"""A webhook consumer that fails on purpose: with an error, a reset connection or a response that is too late."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from rokuga.devtools.serving import serving
from rokuga.devtools.soak.event_audit import Event, EventAudit

FAILURE_SHARE: Final = 0.1
"""Share of the deliveries that are not accepted."""
MAX_FAILURES: Final = 2
"""One event fails so often in a row at most: each retry waits twice as long, and its channel waits with it."""
RESPONSE_TIMEOUT_S: Final = 5
"""The daemon's `webhook_response_timeout`: if the machine stalls for longer, the daemon repeats accepted events."""


class FailingConsumer:
    """Adds deliveries to the audit. `on_new` is called with each new event, `on_fault` with event id and fault."""

    def __init__(
        self, audit: EventAudit, seed: int, on_new: Callable[[Event], None], on_fault: Callable[[str, str], None]
    ) -> None:
        self.url = ""
        self.failed_on_purpose = 0
        self._audit = audit
        self._random = random.Random(seed)
        self._on_new = on_new
        self._on_fault = on_fault
        self._failures: Counter[str] = Counter()

    async def receive(self, request: web.Request) -> web.Response:
        """Receive one delivery, and accept it or fail."""
        event: dict[str, Any] = await request.json()
        is_new, faults = self._audit.deliver(event)
        for fault in faults:
            self._on_fault(event["id"], fault)
        if is_new:
            self._on_new(event)
        if self._failures[event["id"]] == MAX_FAILURES or self._random.random() >= FAILURE_SHARE:
            self._failures.pop(event["id"], None)
            self._audit.accept(event, time.time_ns())
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
async def consuming(consumer: FailingConsumer) -> AsyncIterator[None]:
    """Serve the consumer on a free port of the loopback interface."""
    app = web.Application()
    app.router.add_post("/webhook", consumer.receive)
    async with serving(app) as address:
        consumer.url = f"http://{address}/webhook"
        yield
