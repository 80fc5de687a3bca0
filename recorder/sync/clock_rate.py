"""Distinguish a media clock that runs at a wrong rate from a queue that grows in the network.

Both make "arrival - media time" grow. That of a clock grows evenly and without end, that of a queue unevenly, and it
ends. So the growth must be linear over some seconds, twice in a row. Where sender reports confirm the codec's rate,
growth is taken for a queue's, unless it is fast and lasts for 9 s.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rokuga.recorder.media import NS_PER_MS, NS_PER_S

GROUPS: Final = 5
"""The number of groups into which a window is divided: the growth from each to the next must be the same."""
MIN_MOVE_NS: Final = 25 * NS_PER_MS
"""No window finds a slope in a smaller move."""
MAX_DISAGREEMENT: Final = 4
"""Two successive measurements agree if they differ by less than one part in this many."""


class _Window(NamedTuple):
    """How linear growth must be over a number of steps of `MinimumDelayFilter`, and which growth is accepted."""

    steps_a_group: int
    tolerance_percent: int
    min_growth_ns: int
    min_slope_ppm: int
    max_fall_ppm: int
    needs_reports_silent: bool


WINDOWS: Final = (
    # 2.5 s: a clock this slow would be taken for one that stands still. A queue that drains falls as fast.
    _Window(2, 20, 200 * NS_PER_MS, 120_000, 0, True),
    _Window(4, 33, 40 * NS_PER_MS, 0, 200_000, True),
    _Window(7, 33, 30 * NS_PER_MS, 0, 16_000_000, True),
    # A sender all of whose clocks are wrong. Up to 3 % the offsets of both kinds follow, synchronised by reports.
    _Window(7, 33, 30 * NS_PER_MS, 25_000, 16_000_000, False),
)


class ClockRateEstimator:
    """Measures how "arrival - media time" grows, twice a second."""

    __slots__ = ("_last_ppm",)

    def __init__(self) -> None:
        self._last_ppm = 0

    def is_significant(self, moved_ns: int) -> bool:
        """Return whether a move over the window is large enough for a slope; resets the measurement if not."""
        if abs(moved_ns) >= MIN_MOVE_NS:
            return True
        self._last_ppm = 0
        return False

    def slope_ppm(self, ends_ns: Sequence[int], lags_ns: Sequence[int], reports_agree: bool) -> int:
        """Return the steady growth of the lag in us a second, negative if it shrinks, 0 if it is not steady.

        `ends_ns` are the ends of the last steps, `lags_ns` the least lag in each. `reports_agree`: sender reports
        confirm the codec's rate.
        """
        found_ppm = 0
        for window in WINDOWS:
            if not (reports_agree and window.needs_reports_silent):
                found_ppm = _steady_slope_ppm(window, ends_ns, lags_ns)
                if found_ppm:
                    break
        last_ppm, self._last_ppm = self._last_ppm, found_ppm
        if not found_ppm or abs(found_ppm - last_ppm) * MAX_DISAGREEMENT > abs(found_ppm):
            return 0
        self._last_ppm = 0
        return found_ppm


def _steady_slope_ppm(window: _Window, ends_ns: Sequence[int], lags_ns: Sequence[int]) -> int:
    """Return the slope over the window's groups, 0 where they are too few or not linear."""
    size = window.steps_a_group
    first = len(lags_ns) - GROUPS * size
    if first < 0:
        return 0
    least_ns = [min(lags_ns[at : at + size]) for at in range(first, len(lags_ns), size)]
    times_ns = [ends_ns[at + size - 1] for at in range(first, len(ends_ns), size)]
    growth_ns, passed_ns = least_ns[-1] - least_ns[0], times_ns[-1] - times_ns[0]
    if abs(growth_ns) < window.min_growth_ns or passed_ns <= 0:
        return 0
    slope_ppm = growth_ns * 1000 // (passed_ns // 1000)
    if slope_ppm < -window.max_fall_ppm or abs(slope_ppm) < window.min_slope_ppm:
        return 0
    for at in range(1, GROUPS):
        line_ns = growth_ns * (times_ns[at] - times_ns[at - 1]) // passed_ns
        if abs(least_ns[at] - least_ns[at - 1] - line_ns) * 100 > abs(line_ns) * window.tolerance_percent:
            return 0
    return slope_ppm


MEASURE_NS: Final = NS_PER_S // 2
"""How often the rate is measured."""
