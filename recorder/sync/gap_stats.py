"""Gap statistics of one track: the intervals of an archive that it does not cover."""

from heapq import heapify, heappush, heappushpop
from typing import Final

from rokuga.recorder.media import NS_PER_MS

MIN_GAP_NS: Final = 100 * NS_PER_MS
"""Shorter gaps are not counted."""
LONGEST: Final = 5
"""How many of the longest gaps are listed."""


class GapStats:
    """Counts the gaps of more than 100 ms of one track, from the archive's start to its stop.

    A gap is the time from the end of one unit to the next one: lost, muted, not sent (DTX), not begun yet. Video
    units have the duration 0, so that a gap is the distance of two pictures. Pictures may arrive in decoding order:
    one that is shown within the last gap divides it.
    """

    __slots__ = ("_begin_ns", "_count", "_covered_ns", "_end_ns", "_longest", "_total_ns")

    def __init__(self) -> None:
        self._covered_ns = 0
        self._count = 0
        self._total_ns = 0
        self._begin_ns = self._end_ns = 0  # of the last gap
        self._longest: list[tuple[int, int]] = []

    def add(self, offset_ns: int, duration_ns: int = 0) -> None:
        """Add a unit by its time in ns from the archive's start and its duration."""
        if offset_ns - self._covered_ns > MIN_GAP_NS:
            self._add_gap(self._covered_ns, offset_ns)
        elif self._begin_ns < offset_ns < self._end_ns:
            self._divide_last(offset_ns)
        end_ns = offset_ns + duration_ns
        self._covered_ns = max(self._covered_ns, end_ns)

    def summary(self, stop_offset_ns: int | None = None) -> dict[str, object]:
        """Return count, total and the longest gaps, longest first, in ms, up to the stop if it is given.

        {"gaps": 2, "gaps_total_ms": 700, "gaps_longest": [{"offset_ms": 4000, "duration_ms": 500}, ...]}
        """
        if stop_offset_ns is not None:
            self.add(stop_offset_ns)
        return {
            "gaps": self._count,
            "gaps_total_ms": self._total_ns // NS_PER_MS,
            "gaps_longest": [
                {"offset_ms": -minus_offset_ns // NS_PER_MS, "duration_ms": gap_ns // NS_PER_MS}
                for gap_ns, minus_offset_ns in sorted(self._longest, reverse=True)
            ],
        }

    def _add_gap(self, begin_ns: int, end_ns: int) -> None:
        gap_ns = end_ns - begin_ns
        self._begin_ns, self._end_ns = begin_ns, end_ns
        if gap_ns <= MIN_GAP_NS:
            return
        self._count += 1
        self._total_ns += gap_ns
        entry = (gap_ns, -begin_ns)
        if len(self._longest) < LONGEST:
            heappush(self._longest, entry)
        else:
            heappushpop(self._longest, entry)

    def _divide_last(self, offset_ns: int) -> None:
        begin_ns, end_ns = self._begin_ns, self._end_ns
        gap_ns = end_ns - begin_ns
        if gap_ns > MIN_GAP_NS:
            self._count -= 1
            self._total_ns -= gap_ns
            self._longest = [entry for entry in self._longest if entry != (gap_ns, -begin_ns)]
            heapify(self._longest)
        self._add_gap(begin_ns, offset_ns)
        self._add_gap(offset_ns, end_ns)
