"""The earliest arrival of one RTP run: what jitter cannot move.

Every packet gives one measurement of "arrival minus media time". Network and pacer only ever add to it, so the
smallest one of a sliding window is the base that places the run on our clock.
"""

from collections import deque
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S

WINDOW_NS: Final = 10 * NS_PER_S
"""Long enough to hold a packet that met no queue, short enough that 100 ppm are 1 ms."""

STEP_NS: Final = 250 * NS_PER_MS
"""The window moves in such steps: a minimum of minimums, and nothing to keep per packet."""


class MinimumDelayFilter:
    """Minimum of (arrival - media time), in ns, over the last 10 s in which packets came.

    `base_ns` is that minimum, `recent_ns` that of the last 0.25 to 0.75 s.
    """

    __slots__ = ("_current_ns", "_ends_ns", "_lags_ns", "_step_ends_ns", "base_ns", "recent_ns")

    def __init__(self) -> None:
        self._ends_ns: deque[int] = deque()  # when each step of the window ended
        self._lags_ns: deque[int] = deque()  # and the smallest measurement in it
        self.restart(0, 0)

    def restart(self, lag_ns: int, arrival_ns: int) -> None:
        """Forget everything but this measurement."""
        self._ends_ns.clear()
        self._lags_ns.clear()
        self._step_ends_ns = arrival_ns + STEP_NS
        self.base_ns = self.recent_ns = self._current_ns = lag_ns

    def add(self, lag_ns: int, arrival_ns: int) -> bool:
        """Take a packet's arrival minus its media time; say whether `base_ns` may have moved."""
        if arrival_ns >= self._step_ends_ns:
            self._roll(lag_ns, arrival_ns)
            return True
        if lag_ns < self._current_ns:
            self._current_ns = lag_ns
            self.recent_ns = min(self.recent_ns, lag_ns)
            if lag_ns < self.base_ns:
                self.base_ns = lag_ns
                return True
        return False

    @property
    def moved_ns(self) -> int:
        """By how much the least measurement has grown since the window's first step, in ns."""
        return self.recent_ns - self._lags_ns[0] if self._lags_ns else 0

    def steps(self) -> tuple[list[int], list[int]]:
        """Return when each step of the window ended, and the least measurement in it, in ns."""
        return list(self._ends_ns), list(self._lags_ns)

    def _roll(self, lag_ns: int, arrival_ns: int) -> None:
        ends_ns, lags_ns = self._ends_ns, self._lags_ns
        ends_ns.append(self._step_ends_ns)
        lags_ns.append(self._current_ns)
        while ends_ns and ends_ns[0] < arrival_ns - WINDOW_NS:
            ends_ns.popleft()
            lags_ns.popleft()
        previous_is_fresh = bool(ends_ns) and ends_ns[-1] > arrival_ns - STEP_NS
        self.recent_ns = min(lag_ns, lags_ns[-1]) if previous_is_fresh else lag_ns
        self.base_ns = min(lag_ns, min(lags_ns, default=lag_ns))
        self._current_ns = lag_ns
        self._step_ends_ns = arrival_ns + STEP_NS
