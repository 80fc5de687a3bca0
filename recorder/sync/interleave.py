"""File order: frames of both kinds by time, held back no longer than it helps.

A file wants its blocks in time order, a crash wants them on the disk at once. So a frame waits only for a kind that
flows (or whose packets are being repaired), and never longer than `MAX_HOLD_NS`.
"""

from collections.abc import Collection
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Frame, Kind

ACTIVE_NS: Final = 200 * NS_PER_MS
"""A kind that had no frame for this long is silent: nobody waits for it."""
MAX_HOLD_NS: Final = 2500 * NS_PER_MS
"""No frame is held longer after its arrival; a lost packet is waited for up to 1 s, a kind that begins up to 2 s."""
MAX_FRAMES: Final = 1000
"""No more frames of one kind are held, whatever the other kind does."""
NEVER_NS: Final = -(1 << 62)


class _Lane:
    """One kind: its frames that wait, how far it has come in time, and when the newest arrived."""

    __slots__ = ("frames", "kind", "reached_ns", "seen_ns")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.frames: list[Frame] = []
        self.reached_ns = NEVER_NS
        self.seen_ns = NEVER_NS


class Interleave:
    """Frames in, frames out in file order. Every frame comes out, those of one kind in the order they came in.

    Of two with the same time the video comes first: a cut is made before the audio that belongs behind it.
    A frame that comes after its place in time was passed comes out next, late.
    """

    __slots__ = ("_audio", "_video")

    def __init__(self) -> None:
        self._audio = _Lane("audio")
        self._video = _Lane("video")

    def push(self, frame: Frame) -> None:
        """Take the next frame of its kind. Times go up, but where pictures come in decoding order."""
        lane = self._audio if frame.kind == "audio" else self._video
        lane.frames.append(frame)
        lane.reached_ns = max(lane.reached_ns, frame.time_ns)
        lane.seen_ns = max(lane.seen_ns, frame.unit.arrival_ns)

    def pop(self, now_ns: int, waiting: Collection[Kind] = ()) -> list[Frame]:
        """Give the frames whose turn has come. `waiting`: kinds whose packets are held back for a missing one."""
        audio, video = self._audio.frames, self._video.frames
        out = _merge(audio, video)
        if audio:
            _release(audio, self._video, now_ns, waiting, out)
        elif video:
            _release(video, self._audio, now_ns, waiting, out)
        return out

    def flush(self) -> list[Frame]:
        """Give all that is left, in order."""
        audio, video = self._audio.frames, self._video.frames
        out = [*_merge(audio, video), *video, *audio]
        audio.clear()
        video.clear()
        return out


def _merge(audio: list[Frame], video: list[Frame]) -> list[Frame]:
    """Take frames in order for as long as there are some of both kinds."""
    out: list[Frame] = []
    audio_taken = video_taken = 0
    while audio_taken < len(audio) and video_taken < len(video):
        sound, picture = audio[audio_taken], video[video_taken]
        if sound.time_ns < picture.time_ns:
            out.append(sound)
            audio_taken += 1
        else:
            out.append(picture)
            video_taken += 1
    del audio[:audio_taken]
    del video[:video_taken]
    return out


def _release(queue: list[Frame], other: _Lane, now_ns: int, waiting: Collection[Kind], out: list[Frame]) -> None:
    """Give out the frames of the only kind that has any: all, if nothing is to be expected of the other."""
    if other.kind not in waiting and now_ns - other.seen_ns > ACTIVE_NS:
        out.extend(queue)
        queue.clear()
        return
    taken = max(len(queue) - MAX_FRAMES, 0)
    while taken < len(queue) and (
        queue[taken].time_ns <= other.reached_ns or now_ns - queue[taken].unit.arrival_ns > MAX_HOLD_NS
    ):
        taken += 1
    out.extend(queue[:taken])
    del queue[:taken]
