"""Health of the daemon: the event loop, the writer, the disk and other parts are probed every second.

A part whose probe has not returned for `STALE_NS` is stuck. It is not probed again until that probe returns.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rokuga.recorder.background import background
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

PROBE_S: Final = 1.0
STALE_NS: Final = 3 * NS_PER_S
"""With the interval of probes, a stuck part is reported within 5 s."""

LAG_S: Final = 0.1
"""Interval at which the delay of the event loop is measured."""
MAX_LAG_NS: Final = NS_PER_S
MIN_FREE_BYTES: Final = 1_000_000
"""Least free space, whatever archive_min_free_bytes is."""

Probe = Callable[[], Awaitable[str | None]]
"""Returns the fault of a part, None without one. It may raise, or hang."""


class Health:
    """Probes all parts until the context ends. `notes` returns what the start found damaged, which is no fault."""

    def __init__(self, probes: Mapping[str, Probe], clock: Clock, notes: Callable[[], Sequence[str]] = tuple) -> None:
        self._probes = probes
        self.notes = notes
        self._clock = clock
        now_ns = clock.monotonic_ns()
        self._answered_ns = dict.fromkeys([*probes, "event_loop"], now_ns)
        self._faults: dict[str, str | None] = dict.fromkeys(self._answered_ns)
        self._stack = contextlib.AsyncExitStack()
        self.lag_ns = 0
        self.max_lag_ns = 0

    async def __aenter__(self) -> Self:
        watching = [self._watch(part, probe) for part, probe in self._probes.items()]
        await self._stack.enter_async_context(background(self._measure_lag(), *watching))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def faults(self) -> dict[str, str]:
        """Return the faults of now, by part."""
        now_ns = self._clock.monotonic_ns()
        stuck = {part: "does not answer" for part, ns in self._answered_ns.items() if now_ns - ns > STALE_NS}
        return {part: fault for part, fault in self._faults.items() if fault} | stuck

    async def counters(self) -> Mapping[str, int]:
        """Return the event loop's delays by their names in the table of metrics."""
        return {
            "event_loop_lag_ns": self.lag_ns,
            "event_loop_max_lag_ns": self.max_lag_ns,
        }

    async def _watch(self, part: str, probe: Probe) -> None:
        while True:
            try:
                fault = await probe()
            except Exception as error:
                fault = str(error) or type(error).__name__
            self._record(part, fault)
            await asyncio.sleep(PROBE_S)

    async def _measure_lag(self) -> None:
        while True:
            due_ns = self._clock.monotonic_ns() + int(LAG_S * NS_PER_S)
            await asyncio.sleep(LAG_S)
            self.lag_ns = max(self._clock.monotonic_ns() - due_ns, 0)
            self.max_lag_ns = max(self.max_lag_ns, self.lag_ns)
            self._record("event_loop", "is late" if self.lag_ns > MAX_LAG_NS else None)

    def _record(self, part: str, fault: str | None) -> None:
        self._answered_ns[part] = self._clock.monotonic_ns()
        self._faults[part] = fault


class Disk:
    """The free space below archive_dir, as measured by the writer: a stuck writer measures nothing."""

    def __init__(self, free_bytes: Callable[[], Awaitable[int]], min_free_bytes: int) -> None:
        self._measure = free_bytes
        self._min_free_bytes = max(min_free_bytes, MIN_FREE_BYTES)
        self._free_bytes: int | None = None

    async def measure(self) -> None:
        """Probe the writer. Raises OSError."""
        self._free_bytes = await self._measure()

    async def probe(self) -> str | None:
        """Return a fault if the space that was measured last is too small."""
        if self._free_bytes is None or self._free_bytes >= self._min_free_bytes:
            return None
        return f"has {self._free_bytes} bytes free, less than {self._min_free_bytes}"

    async def counters(self) -> Mapping[str, int]:
        """Return the space that was measured last, by its name in the table of metrics."""
        return {} if self._free_bytes is None else {"archive_free_bytes": self._free_bytes}
