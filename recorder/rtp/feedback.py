"""When to ask: for missing packets (NACK, RFC 4585 section 6.2.1) and for key frames (PLI, section 6.3.1)."""

from typing import Final

from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.rtp.reorder import Missing
from rokuga.recorder.rtp.rtcp import MAX_NACKED

RETRY_NS: Final = 60 * NS_PER_MS
"""Pause between the first requests for a packet: about a round trip on the public network.

It doubles with each second request: what is lost because somebody is overloaded must not make more load.
"""

MAX_TRIES: Final = 6
"""Requests for one packet at most, within 0.6 s; the window of the reorder buffer ends them earlier for audio."""

KEYFRAME_RETRY_NS: Final = 500 * NS_PER_MS
"""Pause between two requests for a key frame: encoding and sending a large one takes its time."""


def due_nacks(missing: dict[int, Missing], now_ns: int) -> list[int]:
    """Give the sequence numbers to ask for now, in order, and note that it was done.

    At most MAX_NACKED at once, the oldest first; the rest stays due.
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
"""The longest pause between two requests to a source that is silent (a paused video, a shared screen that rests)."""


class KeyframeRequests:
    """Asks until a key frame comes: at once, then every KEYFRAME_RETRY_NS. One request is in flight at a time.

    A source that is silent is asked ever more seldom, after half of its silence; when it sends again, at once.

    `spread_ns` puts the first request of this source off, so that many that start together do not answer together.
    """

    __slots__ = ("_asked_ns", "_due_ns", "_spread_ns", "is_wanted")

    def __init__(self, spread_ns: int = 0) -> None:
        self._spread_ns = spread_ns
        self.is_wanted = False
        self._due_ns = 0
        self._asked_ns: int | None = None

    def request(self, now_ns: int, *, spread: bool = False) -> None:
        """Want a key frame from now on; `spread` where others want one at the same moment."""
        if not self.is_wanted:
            self.is_wanted = True
            self._due_ns = max(self._due_ns, now_ns + (self._spread_ns if spread else 0))

    def is_due(self, now_ns: int, silence_ns: int = 0) -> bool:
        """Whether to ask now a source that has sent nothing for `silence_ns`; asking is taken as done."""
        if not self.is_wanted or now_ns < self._due_ns:
            return False
        pause_ns = min(max(silence_ns // 2, KEYFRAME_RETRY_NS), KEYFRAME_MAX_RETRY_NS)
        if self._asked_ns is not None and now_ns - self._asked_ns < pause_ns:
            return False
        self._asked_ns = now_ns
        return True

    def satisfied(self) -> None:
        """A key frame came."""
        self.is_wanted = False
