"""Return of freed memory to the operating system.

glibc keeps memory that was freed below the top of its heap: the process would keep the size of a peak, as when the
disk stalled, and fragmentation by connections of different duration would add up.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator, Callable
from typing import Final

PAUSE_S: Final = 60.0
"""A trim takes 3 to 10 ms of CPU, in a thread of its own."""

Trim = Callable[[int], int]
"""`malloc_trim(3)`: returns free pages except for so many bytes at the top of the heap; 1 if there were any."""


def find_malloc_trim() -> Trim | None:
    """Return the C library's malloc_trim, None where it has none, as in musl."""
    trim: Trim | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


@contextlib.asynccontextmanager
async def trim_memory_periodically(trim: Trim | None, pause_s: float = PAUSE_S) -> AsyncIterator[None]:
    """Trim periodically until the end of the context."""
    task = asyncio.create_task(_trim_periodically(trim, pause_s)) if trim is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def _trim_periodically(trim: Trim, pause_s: float) -> None:
    while True:
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(trim, 0)
