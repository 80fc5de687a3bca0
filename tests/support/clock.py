"""The clock of all tests: time moves only when the test moves it, and whoever sleeps wakes when it does."""

import asyncio
from dataclasses import dataclass, field

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_MS, NS_PER_S

START_NS = 5_000 * NS_PER_S
START_WALL_NS = 1_700_000_000 * NS_PER_S + 250 * NS_PER_MS


@dataclass(eq=False)
class FakeClock:
    """Monotonic and wall time, and sleep. `now_ns` moves both times, `wall_offset_ns` the wall time alone."""

    start_ns: int = START_NS
    wall_offset_ns: int = START_WALL_NS - START_NS
    _now_ns: int = field(init=False)
    _sleepers: list[tuple[int, asyncio.Event]] = field(default_factory=list)
    _slept: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._now_ns = self.start_ns

    @property
    def now_ns(self) -> int:
        """The monotonic time."""
        return self._now_ns

    @now_ns.setter
    def now_ns(self, now_ns: int) -> None:
        self._now_ns = now_ns
        for due_ns, event in self._sleepers:
            if due_ns <= now_ns:
                event.set()

    def clock(self) -> Clock:
        """Return the clock that the code under test receives."""
        return Clock(lambda: self.now_ns, lambda: self.now_ns + self.wall_offset_ns, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Return when the test has moved the time so far."""
        sleeper = (self.now_ns + round(seconds * NS_PER_S), asyncio.Event())
        self._sleepers.append(sleeper)
        self._slept.set()
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    async def sleeping(self) -> int:
        """Wait until something sleeps; return the time at which the first sleeper wakes."""
        while not (due := [due_ns for due_ns, event in self._sleepers if not event.is_set()]):
            self._slept.clear()
            await self._slept.wait()
        return min(due)

    async def next_sleep(self) -> float:
        """Wait until something sleeps, move the time to the end of the shortest sleep, and return its seconds."""
        begin_ns, self.now_ns = self.now_ns, await self.sleeping()
        return (self.now_ns - begin_ns) / NS_PER_S

    async def skip_sleeps(self) -> None:
        """Move the time to the end of each sleep; ends by cancellation."""
        while True:
            await self.next_sleep()
