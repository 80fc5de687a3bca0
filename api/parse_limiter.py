"""A limit on the share of the event loop that large session descriptions take: they are parsed one at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

LARGE: Final = 16 * 1024
"""Characters. A browser's description has about 6,000: those of real clients are never delayed."""

PAUSE_FACTOR: Final = 2
"""The pause after a description, as a multiple of the time that it took to parse."""


class ParseLimiter:
    """Grants slots for parsing, in order of arrival."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def slot(self, text: str) -> AsyncIterator[None]:
        """Wait for the slot of a text, and hold it for the context. A text shorter than LARGE does not wait."""
        if len(text) < LARGE:
            yield
            return
        loop = asyncio.get_running_loop()
        await self._lock.acquire()
        start_s = loop.time()
        try:
            yield
        finally:
            loop.call_later(PAUSE_FACTOR * (loop.time() - start_s), self._lock.release)
