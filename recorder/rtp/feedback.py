"""When to request missing packets (NACK, RFC 4585 section 6.2.1) and key frames (PLI, section 6.3.1)."""

from typing import Final

from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.rtp.reorder import Missing
from rokuga.recorder.rtp.rtcp import MAX_NACKED

RETRY_NS: Final = 60 * NS_PER_MS
"""Pause between the first requests for a packet: about a round trip on the public network.

It doubles with each second request, so that packets lost by overload do not add to it.
"""

MAX_TRIES: Final = 6
"""The most requests for one packet, within 0.6 s; for audio the reorder buffer's window ends them earlier."""

KEYFRAME_RETRY_NS: Final = 500 * NS_PER_MS
"""Pause between two requests for a key frame: encoding and sending a large one takes time."""


def select_nacks(missing: dict[int, Missing], now_ns: int) -> list[int]:
    """Return the sequence numbers to request now, in order, and count the request.

    At most MAX_NACKED at once, the oldest first; the others stay due.
    """
    due: list[int] = []
    for sequence, gap in missing.items():
        if gap.due_ns <= now_ns and gap.tries < MAX_TRIES:
            gap.due_ns = now_ns + (RETRY_NS << gap.tries // 2)
            gap.tries += 1
            due.append(sequence)
            if len(due) == MAX_NACKED:
                break
    return due


KEYFRAME_MAX_RETRY_NS: Final = 5000 * NS_PER_MS
"""The longest pause between two requests to a silent source (paused video, a shared screen without changes)."""


class KeyframeRequests:
    """Schedules PLIs until a key frame arrives: at once, then every KEYFRAME_RETRY_NS, one in flight at a time.

    For a silent source the pause grows to half of its silence; when it sends again, it is asked at once.

    `spread_ns` delays the first request of this source, so that many sources do not send key frames together.
    """

    __slots__ = ("_asked_ns", "_due_ns", "_spread_ns", "is_wanted")

    def __init__(self, spread_ns: int = 0) -> None:
        self._spread_ns = spread_ns
        self.is_wanted = False
        self._due_ns = 0
        self._asked_ns: int | None = None

    def request(self, now_ns: int, *, spread: bool = False) -> None:
        """Request a key frame from now on; `spread` where other sources are asked at the same time."""
        if not self.is_wanted:
            self.is_wanted = True
            self._due_ns = max(self._due_ns, now_ns + (self._spread_ns if spread else 0))

    def is_due(self, now_ns: int, silence_ns: int = 0) -> bool:
        """Return whether to send a PLI now to a source silent for `silence_ns`; it is counted as sent."""
        if not self.is_wanted or now_ns < self._due_ns:
            return False
        pause_ns = min(max(silence_ns // 2, KEYFRAME_RETRY_NS), KEYFRAME_MAX_RETRY_NS)
        if self._asked_ns is not None and now_ns - self._asked_ns < pause_ns:
            return False
        self._asked_ns = now_ns
        return True

    def keyframe_received(self) -> None:
        """End the request."""
        self.is_wanted = False
