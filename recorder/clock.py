"""The clock that every module with a use for time receives, and the form in which wall time is written."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

TICK_MS: Final = 20
"""Period of the tick, at which retransmissions are requested, late packets given up and batches written."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic time for durations, order and expiry; wall time only for names and metadata; sleep in seconds."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


SYSTEM_CLOCK: Final = Clock()


def until_tick_s(now_s: float) -> float:
    """Return the seconds from an event loop's time to its next tick; all ticks of a loop share one wake-up."""
    return (TICK_MS - round(now_s * 1000) % TICK_MS) / 1000


def rfc3339(wall_ns: int) -> str:
    """Return UTC with microseconds and `Z`, as Sora writes timestamps: 2024-03-01T00:00:00.000100Z."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"


def from_rfc3339(text: str) -> int:
    """Return the wall time in ns of a text that `rfc3339` returned. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (int(moment.timestamp()) * 1_000_000 + moment.microsecond) * 1000
