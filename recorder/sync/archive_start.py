"""The start of an archive: leave out what was captured before it, except pictures that later ones depend on."""

from collections.abc import Sequence
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Frame

MAX_FRAMES: Final = 1000
"""How many pictures from before the start are held."""


class ArchiveStart:
    """Selects the frames of an archive that begins at `start_ns`, and sets their times in it.

    * Audio from before the start is left out, and video before its first key frame.
    * Pictures from before the start are left out up to the last key frame before it: the picture at the start
      depends on the others, which are shown at the start, 1 ms apart.
    * Pictures are at least 1 ms apart, since some readers reject two with the same time. Pictures that step back in
      time, sent in decoding order, keep their times.
    """

    __slots__ = (
        "_before",
        "_has_video",
        "_latest_ns",
        "_raw_latest_ns",
        "_start_ns",
        "keeps_early_audio",
        "lacks_keyframe",
    )

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._before: list[Frame] = []
        self._has_video = False
        self._latest_ns = start_ns - NS_PER_MS
        self._raw_latest_ns = -1 << 62
        self.lacks_keyframe = False
        """Whether a picture arrived before any key frame."""
        self.keeps_early_audio = False
        """Whether the archive begins with its connection. Then no audio is left out: a first packet that was
        delayed on its way appears to be from before the start."""

    def push(self, frame: Frame) -> Sequence[Frame]:
        """Add the next frame of its kind; return the frames that belong to the archive by now."""
        if frame.kind == "audio":
            if frame.time_ns < self._start_ns:
                if not self.keeps_early_audio:
                    return ()
                frame.time_ns = self._start_ns
            return (frame,)
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
        """Return the held pictures from before the start."""
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
