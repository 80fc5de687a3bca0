"""Large session descriptions are read one at a time, so that a crowd of them does not hold up everybody else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

LARGE: Final = 16 * 1024
"""Characters. A browser's description has 6 kB: what real clients send never waits here."""

PAUSE: Final = 2
"""After one that took t seconds to read, the next waits for so many times t: they have a third of the event loop."""


class LargeMessages:
    """The turn of each text that is to be read, first come, first served."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self, text: str) -> AsyncIterator[None]:
        """Wait until it is the turn of a text, and read it in the context; small ones never wait."""
        if len(text) < LARGE:
            yield
            return
        loop = asyncio.get_running_loop()
        await self._lock.acquire()
        began_s = loop.time()
        try:
            yield
        finally:
            loop.call_later(PAUSE * (loop.time() - began_s), self._lock.release)
