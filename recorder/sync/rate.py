"""Tell a media clock that runs at a wrong rate from a network that delivers later and later.

Both show as a growing "arrival - media time". A clock grows evenly and goes on; a queue grows unevenly and ends. So
the growth must be as steady as a line over some seconds, twice in a row. What the sender's reports say helps: where
they bear the codec's rate out, growth is a queue's, unless it is quick and goes on for 9 s.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rokuga.recorder.media import NS_PER_MS, NS_PER_S

GROUPS: Final = 5
"""The window is cut into so many groups: the growth from each to the next must be the same."""
WORTH_NS: Final = 25 * NS_PER_MS
"""No window finds a slope in less."""
AGREEMENT: Final = 4
"""Two measurements in a row agree that differ by less than a quarter."""


class _Window(NamedTuple):
    """How steady growth must be over so many steps of `MinimumDelayFilter`, and for which growth it tells."""

    steps_a_group: int
    tolerance_percent: int
    min_growth_ns: int
    min_slope_ppm: int
    max_fall_ppm: int
    needs_reports_silent: bool


WINDOWS: Final = (
    # 2.5 s: a clock that is so slow would be taken for one that stands still. A queue that drains falls as quickly.
    _Window(2, 20, 200 * NS_PER_MS, 120_000, 0, True),
    _Window(4, 33, 40 * NS_PER_MS, 0, 200_000, True),
    _Window(7, 33, 30 * NS_PER_MS, 0, 16_000_000, True),
    # A sender all of whose clocks run wrong. Up to 3 % the offsets of both kinds follow, in sync by the reports.
    _Window(7, 33, 30 * NS_PER_MS, 25_000, 16_000_000, False),
)


class RateMeter:
    """Measures how "arrival - media time" grows, twice a second."""

    __slots__ = ("_last_ppm",)

    def __init__(self) -> None:
        self._last_ppm = 0

    def looks(self, moved_ns: int) -> bool:
        """Return whether a move of so much over the window is worth to be looked at: mostly it is none."""
        if abs(moved_ns) >= WORTH_NS:
            return True
        self._last_ppm = 0
        return False

    def slope_ppm(self, ends_ns: Sequence[int], lags_ns: Sequence[int], reports_agree: bool) -> int:
        """Return by how many us a second lateness grows steadily, 0 where it does not; below 0 it shrinks.

        `ends_ns` are the ends of the last steps, `lags_ns` the least lag in each. `reports_agree`: the sender's
        reports say that the rate is right.
        """
        found_ppm = 0
        for window in WINDOWS:
            if not (reports_agree and window.needs_reports_silent):
                found_ppm = _steady(window, ends_ns, lags_ns)
                if found_ppm:
                    break
        last_ppm, self._last_ppm = self._last_ppm, found_ppm
        if not found_ppm or abs(found_ppm - last_ppm) * AGREEMENT > abs(found_ppm):
            return 0
        self._last_ppm = 0
        return found_ppm


def _steady(window: _Window, ends_ns: Sequence[int], lags_ns: Sequence[int]) -> int:
    """Return the slope over the window's groups, 0 where they are too few or no line."""
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
"""The rate is measured at this step."""
