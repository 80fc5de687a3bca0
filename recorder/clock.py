"""The two clocks, passed in wherever time is needed, and the one form in which wall time is written."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

TICK_MS: Final = 20
"""What is due is done at this step: retransmissions are asked for, late packets given up, batches written."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic time for durations, order and expiry; wall time only for names and metadata."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns


def until_tick_s(now_s: float) -> float:
    """Give how long it is to the next tick, by a loop's time: all ticks of a loop share its wake-ups."""
    return (TICK_MS - round(now_s * 1000) % TICK_MS) / 1000


def rfc3339(wall_ns: int) -> str:
    """UTC with microseconds and `Z`, as Sora writes timestamps: 2024-03-01T00:00:00.000100Z."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"


def from_rfc3339(text: str) -> int:
    """Give the wall time in ns of what `rfc3339` wrote. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (int(moment.timestamp()) * 1_000_000 + moment.microsecond) * 1000
