"""The RTP sources of a kind, and the rules by which one of them is recorded. Pure.

A sender may send more than was agreed: layers of several sizes (by rid or by SSRC), or the last packets of a track
that was replaced. One source of a kind is active, which means recorded; the others are alternatives.

* An alternative may replace the active source, at a key frame of its own, in three cases (`may_replace`): the active
  source is silent; the alternative's picture is larger and it is steady, or both have just begun; or it appeared
  SETTLED_NS after the active one (a replaced track, a restart) and its picture is not smaller.
* The largest alternative that could replace it now is its successor and is asked for that key frame (`successor_of`);
  the others are asked for nothing.
"""

from collections.abc import Iterable
from typing import Final

from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.track import Track

SETTLED_NS: Final = 1000 * NS_PER_MS
"""A source that appears so long after another one is not a layer of it; one that has sent for so long is steady."""

SILENT_NS: Final = 200 * NS_PER_MS
"""A source that has sent nothing for so long is silent, if it used to send more often."""

MAX_SILENT_NS: Final = 3000 * NS_PER_MS
"""The same for sources that send rarely."""


class RtpSource:
    """One SSRC of a kind. `first_packet_ns`, `last_packet_ns` are arrival times; `area` is a picture's, in pixels."""

    __slots__ = (
        "_longest_pause_ns",
        "_observed_ns",
        "_observed_packet_ns",
        "_steady_since_ns",
        "area",
        "first_packet_ns",
        "kind",
        "last_packet_ns",
        "payload_type",
        "track",
    )

    def __init__(self, kind: Kind, payload_type: int, track: Track, now_ns: int) -> None:
        self.kind = kind
        self.payload_type = payload_type
        self.track = track
        self.first_packet_ns = self.last_packet_ns = now_ns
        self.area = 0
        self._observed_ns = self._observed_packet_ns = self._steady_since_ns = now_ns
        self._longest_pause_ns = 0  # of the last pauses between packets, at the resolution of `observe`

    def observe(self, now_ns: int) -> None:
        """Measure the pauses between packets. Called by each tick while the kind has alternatives."""
        if now_ns - self._observed_ns > SETTLED_NS:  # there were no alternatives meanwhile
            self._observed_packet_ns, self._longest_pause_ns = self.last_packet_ns, 0
        self._observed_ns = now_ns
        if self.is_silent(now_ns):
            self._steady_since_ns = now_ns
        pause_ns = self.last_packet_ns - self._observed_packet_ns
        if pause_ns:
            decayed_ns = self._longest_pause_ns - (self._longest_pause_ns >> 3)
            self._longest_pause_ns = max(min(pause_ns, SETTLED_NS), decayed_ns)
            self._observed_packet_ns = self.last_packet_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether it has sent nothing for much longer than its usual pauses."""
        return now_ns - self.last_packet_ns > min(max(3 * self._longest_pause_ns, SILENT_NS), MAX_SILENT_NS)

    def is_steady(self, now_ns: int) -> bool:
        """Whether it has not been silent for SETTLED_NS."""
        return now_ns - self._steady_since_ns > SETTLED_NS and not self.is_silent(now_ns)


def area_of(units: Iterable[AccessUnit]) -> int:
    """Return the pixels of the newest unit that has a size, 0 if none has."""
    area = 0
    for unit in units:
        if unit.width:
            area = unit.width * unit.height
    return area


def may_replace(alternative: RtpSource, active: RtpSource, now_ns: int) -> bool:
    """Whether an alternative may replace the active source at its next key frame."""
    if active.is_silent(now_ns):
        return True
    if alternative.area < active.area:
        return False
    if alternative.first_packet_ns - active.first_packet_ns > SETTLED_NS:
        return True
    have_just_begun = now_ns - active.first_packet_ns <= SETTLED_NS
    return alternative.area > active.area and (have_just_begun or alternative.is_steady(now_ns))


def successor_of(active: RtpSource, alternatives: Iterable[RtpSource], now_ns: int) -> RtpSource | None:
    """Return the alternative that is to replace the active source as soon as it has a key frame, None for none."""
    is_silent = active.is_silent(now_ns)
    best: RtpSource | None = None
    for alternative in alternatives:
        if alternative.is_silent(now_ns):
            continue
        could = is_silent or (alternative.area > active.area and alternative.is_steady(now_ns))
        if could and (best is None or alternative.area > best.area):
            best = alternative
    return best
