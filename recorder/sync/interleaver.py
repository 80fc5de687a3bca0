"""File order: merge the frames of both kinds by time.

Blocks in a file should be in time order, and on the disk early in case of a crash. So a frame waits for the other
kind only while that kind sends or has packets repaired, and never longer than `MAX_HOLD_NS`.
"""

from collections.abc import Collection
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Frame, Kind

ACTIVE_NS: Final = 200 * NS_PER_MS
"""A kind without a frame for this long is silent and is not waited for."""
MAX_HOLD_NS: Final = 2500 * NS_PER_MS
"""How long a frame is held after its arrival: a lost packet is waited for up to 1 s, a new run up to 2 s."""
MAX_FRAMES: Final = 1000
"""How many frames of one kind are held at most."""
NEVER_NS: Final = -(1 << 62)


class _Queue:
    """One kind: its held frames, its latest time, and its latest arrival."""

    __slots__ = ("arrival_ns", "frames", "kind", "latest_ns")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.frames: list[Frame] = []
        self.latest_ns = NEVER_NS
        self.arrival_ns = NEVER_NS


class Interleaver:
    """Returns frames in file order. No frame is dropped, and those of one kind keep their order.

    Of two frames with the same time the video is first: a part begins before the audio that belongs to it.
    A frame that arrives after later ones were returned is returned next.
    """

    __slots__ = ("_audio", "_video")

    def __init__(self) -> None:
        self._audio = _Queue("audio")
        self._video = _Queue("video")

    def push(self, frame: Frame) -> None:
        """Add the next frame of its kind. Times grow, except for pictures in decoding order."""
        queue = self._audio if frame.kind == "audio" else self._video
        queue.frames.append(frame)
        queue.latest_ns = max(queue.latest_ns, frame.time_ns)
        queue.arrival_ns = max(queue.arrival_ns, frame.unit.arrival_ns)

    def pop(self, now_ns: int, waiting: Collection[Kind] = ()) -> list[Frame]:
        """Return the frames that are due. `waiting`: kinds whose packets are held back for a missing one."""
        audio, video = self._audio.frames, self._video.frames
        out = _merge(audio, video)
        if audio:
            _release(audio, self._video, now_ns, waiting, out)
        elif video:
            _release(video, self._audio, now_ns, waiting, out)
        return out

    def flush(self) -> list[Frame]:
        """Return all held frames, in order."""
        audio, video = self._audio.frames, self._video.frames
        out = [*_merge(audio, video), *video, *audio]
        audio.clear()
        video.clear()
        return out


def _merge(audio: list[Frame], video: list[Frame]) -> list[Frame]:
    """Remove and return frames in order for as long as there are some of both kinds."""
    out: list[Frame] = []
    audio_count = video_count = 0
    while audio_count < len(audio) and video_count < len(video):
        audio_frame, video_frame = audio[audio_count], video[video_count]
        if audio_frame.time_ns < video_frame.time_ns:
            out.append(audio_frame)
            audio_count += 1
        else:
            out.append(video_frame)
            video_count += 1
    del audio[:audio_count]
    del video[:video_count]
    return out


def _release(frames: list[Frame], other: _Queue, now_ns: int, waiting: Collection[Kind], out: list[Frame]) -> None:
    """Move the due frames of the only kind that has any to `out`: all of them if the other kind is silent."""
    if other.kind not in waiting and now_ns - other.arrival_ns > ACTIVE_NS:
        out.extend(frames)
        frames.clear()
        return
    due = max(len(frames) - MAX_FRAMES, 0)
    while due < len(frames) and (
        frames[due].time_ns <= other.latest_ns or now_ns - frames[due].unit.arrival_ns > MAX_HOLD_NS
    ):
        due += 1
    out.extend(frames[:due])
    del frames[:due]
