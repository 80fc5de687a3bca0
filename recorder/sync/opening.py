"""How an archive begins: what was captured before it is left out, but the pictures that later ones depend on."""

from collections.abc import Sequence
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Frame

MAX_FRAMES: Final = 1000
"""More pictures of before the start are not waited with."""


class Opening:
    """Frames of an archive that begins at `start_ns`: in, and out with the times that they have in it.

    * Sound of before the start is left out, and video before its first key frame.
    * Pictures of before the start are left out, too, up to the last key frame before it: the picture at the start
      depends on those that are left. They are shown at the start, 1 ms apart.
    * No two pictures have the same ms: that is too many for some readers. Pictures that step back in time, sent in
      decoding order, stay where they are.
    """

    __slots__ = ("_before", "_has_video", "_latest_ns", "_raw_latest_ns", "_start_ns", "lacks_keyframe")

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._before: list[Frame] = []
        self._has_video = False
        self._latest_ns = start_ns - NS_PER_MS
        self._raw_latest_ns = -1 << 62
        self.lacks_keyframe = False
        """Whether a picture came that no key frame preceded."""

    def push(self, frame: Frame) -> Sequence[Frame]:
        """Take a frame, in the order of its kind; return those that belong into the archive by now."""
        if frame.kind == "audio":
            return (frame,) if frame.time_ns >= self._start_ns else ()
        is_keyframe = frame.unit.is_keyframe
        if not self._has_video:
            if not is_keyframe:
                self.lacks_keyframe = True
                return ()
            self._has_video = True
        if frame.time_ns < self._start_ns:
            if is_keyframe:
                self._before.clear()
            self._before.append(frame)
            return self.flush() if len(self._before) > MAX_FRAMES else ()
        if not self._before:
            self._space(frame)
            return (frame,)
        if is_keyframe:
            self._before.clear()
        frames = [*self.flush(), frame]
        self._space(frame)
        return frames

    def flush(self) -> Sequence[Frame]:
        """Return the pictures of before the start that are waited with."""
        frames, self._before = self._before, []
        for frame in frames:
            self._space(frame)
        return frames

    def _space(self, frame: Frame) -> None:
        raw_ns = frame.time_ns
        if raw_ns >= self._raw_latest_ns:
            self._raw_latest_ns = raw_ns
            self._latest_ns = frame.time_ns = max(raw_ns, self._latest_ns + NS_PER_MS)
        else:
            frame.time_ns = max(raw_ns, self._start_ns)
