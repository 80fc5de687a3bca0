"""Which of several sources of a kind is recorded: the one with the largest picture that keeps coming.

A sender may send more than was agreed: layers of several sizes (by rid or several SSRCs), the tail of a track that
was replaced. One source of a kind is the present one; the others are rivals, followed and asked for nothing.

* A rival may take over with a key frame (`may_take_over`) when the present source is silent; when its picture is
  larger and it has kept coming for SETTLED_NS, or both have just begun; when it appeared SETTLED_NS after the present
  one (a replaced track, a restart) and its picture is not smaller.
* A rival is asked for that key frame if it is the largest of those that could take over (`elected`).
"""

from collections.abc import Iterable
from typing import Final

from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.track import Track

SETTLED_NS: Final = 1000 * NS_PER_MS
"""A source that appears so long after another one is no layer of it; one that has come for so long keeps coming."""

SILENT_NS: Final = 200 * NS_PER_MS
"""A source that has sent nothing for so long is silent, if it used to send more often."""

MAX_SILENT_NS: Final = 3000 * NS_PER_MS
"""The same of sources that send ever so seldom."""


class Source:
    """One SSRC of a kind. `first_ns` and `heard_ns` are the arrivals of its first and newest packet."""

    __slots__ = (
        "_look_ns",
        "_pause_ns",
        "_seen_ns",
        "_steady_ns",
        "area",
        "first_ns",
        "heard_ns",
        "kind",
        "payload_type",
        "track",
    )

    def __init__(self, kind: Kind, payload_type: int, track: Track, now_ns: int) -> None:
        self.kind = kind
        self.payload_type = payload_type
        self.track = track
        self.first_ns = self.heard_ns = now_ns
        self.area = 0
        self._look_ns = self._seen_ns = self._steady_ns = now_ns  # the last look, and `heard_ns` at that time
        self._pause_ns = 0  # the longest of the last pauses between packets, as far as looks tell

    def look(self, now_ns: int) -> None:
        """Learn how this source sends; to be called at each tick while there are rivals."""
        if now_ns - self._look_ns > SETTLED_NS:  # there were no rivals
            self._seen_ns, self._pause_ns = self.heard_ns, 0
        self._look_ns = now_ns
        if self.is_silent(now_ns):
            self._steady_ns = now_ns
        pause_ns = self.heard_ns - self._seen_ns
        if pause_ns:
            self._pause_ns = max(min(pause_ns, SETTLED_NS), self._pause_ns - (self._pause_ns >> 3))
            self._seen_ns = self.heard_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether it has sent nothing for longer than it used to."""
        return now_ns - self.heard_ns > min(max(3 * self._pause_ns, SILENT_NS), MAX_SILENT_NS)

    def keeps_coming(self, now_ns: int) -> bool:
        """Whether it has sent without a silence for SETTLED_NS."""
        return now_ns - self._steady_ns > SETTLED_NS and not self.is_silent(now_ns)


def area_of(units: Iterable[AccessUnit]) -> int:
    """Return the size of the newest key frame in pixels; 0 where none tells."""
    area = 0
    for unit in units:
        if unit.width:
            area = unit.width * unit.height
    return area


def may_take_over(rival: Source, present: Source, now_ns: int) -> bool:
    """Whether a rival may take over at its next key frame."""
    if present.is_silent(now_ns):
        return True
    if rival.area < present.area:
        return False
    if rival.first_ns - present.first_ns > SETTLED_NS:
        return True
    have_just_begun = now_ns - present.first_ns <= SETTLED_NS
    return rival.area > present.area and (have_just_begun or rival.keeps_coming(now_ns))


def elected(rivals: Iterable[Source], present: Source, now_ns: int) -> Source | None:
    """Return the rival that is to take over as soon as it has a key frame, None if none is."""
    is_silent = present.is_silent(now_ns)
    best: Source | None = None
    for rival in rivals:
        if rival.is_silent(now_ns):
            continue
        could = is_silent or (rival.area > present.area and rival.keeps_coming(now_ns))
        if could and (best is None or rival.area > best.area):
            best = rival
    return best
