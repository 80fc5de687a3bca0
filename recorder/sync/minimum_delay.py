"""The minimum-delay filter: the offset between a sender's media clock and ours (RFC 5905 section 10, clock filter).

Each packet measures "arrival minus media time". Queues only add to it, so the minimum over a sliding window is the
offset that jitter does not change.
"""

from collections import deque
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S

WINDOW_NS: Final = 10 * NS_PER_S
"""Long enough to contain a packet that met no queue, short enough that a drift of 100 ppm is 1 ms."""

STEP_NS: Final = 250 * NS_PER_MS
"""The window moves in steps of this length, so that it stores one minimum a step and nothing per packet."""


class MinimumDelayFilter:
    """Minimum of (arrival - media time), in ns, over the last 10 s in which packets arrived.

    `base_ns` is that minimum, `recent_ns` that of the last 0.25 to 0.75 s.
    """

    __slots__ = ("_current_ns", "_ends_ns", "_lags_ns", "_step_ends_ns", "base_ns", "recent_ns")

    def __init__(self) -> None:
        self._ends_ns: deque[int] = deque()  # when each step of the window ended
        self._lags_ns: deque[int] = deque()  # and the smallest measurement in it
        self.restart(0, 0)

    def restart(self, lag_ns: int, arrival_ns: int) -> None:
        """Discard all measurements but this one."""
        self._ends_ns.clear()
        self._lags_ns.clear()
        self._step_ends_ns = arrival_ns + STEP_NS
        self.base_ns = self.recent_ns = self._current_ns = lag_ns

    def add(self, lag_ns: int, arrival_ns: int) -> bool:
        """Add a packet's arrival minus its media time; return whether `base_ns` may have moved."""
        if arrival_ns >= self._step_ends_ns:
            self._begin_step(lag_ns, arrival_ns)
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
        """Growth of the minimum since the window's first step, in ns."""
        return self.recent_ns - self._lags_ns[0] if self._lags_ns else 0

    def steps(self) -> tuple[list[int], list[int]]:
        """Return the ends of the window's steps, and the minimum of each, in ns."""
        return list(self._ends_ns), list(self._lags_ns)

    def _begin_step(self, lag_ns: int, arrival_ns: int) -> None:
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
