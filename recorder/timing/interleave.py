"""File order: frames of both kinds by time, held back no longer than it helps.

A file wants its blocks in time order, a crash wants them on the disk at once. So a frame waits only for a kind that
flows (or whose packets are being repaired), and never longer than `MAX_HOLD_NS`.
"""

from collections import deque
from collections.abc import Collection

from rokuga.recorder.media import NS_PER_MS, Frame, Kind

ACTIVE_NS = 200 * NS_PER_MS
"""A kind that had no frame for this long is silent: nobody waits for it."""
MAX_HOLD_NS = 1500 * NS_PER_MS
"""No frame is held longer after its arrival; repair of a lost packet takes up to 1.2 s."""
MAX_FRAMES = 1000
"""No more frames of one kind are held, whatever the other kind does."""
NEVER_NS = -(1 << 62)


class Interleave:
    """Frames in, frames out in file order. Every frame comes out, those of one kind in the order they came in.

    Of two with the same time the video comes first: a cut is made before the audio that belongs behind it.
    A frame that comes after its place in time was passed comes out next, late.
    """

    __slots__ = ("_queues", "_reached_ns", "_seen_ns")

    def __init__(self) -> None:
        self._queues: dict[Kind, deque[Frame]] = {"audio": deque(), "video": deque()}
        self._reached_ns: dict[Kind, int] = {"audio": NEVER_NS, "video": NEVER_NS}
        self._seen_ns: dict[Kind, int] = {"audio": NEVER_NS, "video": NEVER_NS}

    def push(self, frame: Frame) -> None:
        """Take the next frame of its kind; its time is not before that of the last one."""
        kind = frame.kind
        self._queues[kind].append(frame)
        self._reached_ns[kind] = frame.time_ns
        self._seen_ns[kind] = max(self._seen_ns[kind], frame.unit.arrival_ns)

    def pop(self, now_ns: int, waiting: Collection[Kind] = ()) -> list[Frame]:
        """Give the frames whose turn has come. `waiting`: kinds whose packets are held back for a missing one."""
        out: list[Frame] = []
        audio, video = self._queues["audio"], self._queues["video"]
        while audio and video:
            out.append((audio if audio[0].time_ns < video[0].time_ns else video).popleft())
        if audio:
            self._release(audio, "video", now_ns, waiting, out)
        elif video:
            self._release(video, "audio", now_ns, waiting, out)
        return out

    def flush(self) -> list[Frame]:
        """Give all that is left, in order."""
        out = [*self._queues["video"], *self._queues["audio"]]
        out.sort(key=lambda frame: frame.time_ns)
        for queue in self._queues.values():
            queue.clear()
        return out

    def _release(
        self, queue: deque[Frame], other: Kind, now_ns: int, waiting: Collection[Kind], out: list[Frame]
    ) -> None:
        """Give out the frames of the only kind that has any: all, if nothing is to be expected of the other."""
        if other not in waiting and now_ns - self._seen_ns[other] > ACTIVE_NS:
            out.extend(queue)
            queue.clear()
            return
        reached_ns = self._reached_ns[other]
        while queue and (
            queue[0].time_ns <= reached_ns
            or now_ns - queue[0].unit.arrival_ns > MAX_HOLD_NS
            or len(queue) > MAX_FRAMES
        ):
            out.append(queue.popleft())
