"""Freed memory is returned to the operating system periodically."""

import asyncio
import platform

from rokuga.api.monitoring.memory import find_malloc_trim, trim_memory_periodically


async def test_memory_is_trimmed_periodically_until_the_end() -> None:
    """It runs in a thread: the event loop is not blocked."""
    loop, trimmed, is_enough = asyncio.get_running_loop(), list[int](), asyncio.Event()

    def trim(keep_bytes: int) -> int:
        trimmed.append(keep_bytes)
        if len(trimmed) == 3:
            loop.call_soon_threadsafe(is_enough.set)
        return 1

    async with trim_memory_periodically(trim, pause_s=0):
        await is_enough.wait()
    assert set(trimmed) == {0}
    assert len(asyncio.all_tasks()) == 1, "nothing goes on"


async def test_a_c_library_without_malloc_trim_is_not_called() -> None:
    async with trim_memory_periodically(None):
        pass


def test_glibc_can_trim() -> None:
    """glibc has malloc_trim, and it accepts the argument."""
    trim = find_malloc_trim()
    assert (trim is not None) == (platform.libc_ver()[0] == "glibc")
    assert trim is None or trim(0) in {0, 1}
