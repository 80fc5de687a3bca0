"""Where to cut an archive into parts.

Boundaries are the multiples of the split duration on the archive's clock, not "duration after the last cut": parts
do not drift. A part begins

* at the first video key frame not earlier than 0.35 s before the boundary (a quarter of the duration, if that is
  less). A key frame is asked for 0.3 s ahead, and again until it comes, so parts begin within 0.5 s of the boundary.
  Video that ignores the request: the part goes on to the next key frame;
* without video, or with video that had no frame for 1 s (muted, frozen, lost): at the boundary itself, by audio.

Boundaries that nobody crossed with a frame, or that a long group of pictures has swallowed, make no part.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Frame

LEAD_NS: Final = 300 * NS_PER_MS
"""How far ahead of a boundary the key frame is asked for: a round trip and an encoder's turn."""
EARLY_NS: Final = 350 * NS_PER_MS
"""How far ahead of a boundary a key frame may begin the part."""
REPEAT_NS: Final = 300 * NS_PER_MS
"""The request is repeated after this, then ever more seldom."""
MAX_REPEAT_NS: Final = 5 * NS_PER_S
SILENT_NS: Final = NS_PER_S
"""Video without a frame for this long does not decide where to cut."""
CLOSE_AFTER_NS: Final = 1500 * NS_PER_MS
"""A part is closed this long after the next one began, even if nothing has shown that it is complete."""
HELD_UP_NS: Final = 10 * NS_PER_S
"""Or this long, where a kind has stopped in it that may be held up on its way: what catches up belongs there."""


class SplitPolicy:
    """Says for each frame, in file order, which part it belongs to. Parts are counted from 0.

    Use, with offsets in ns from the archive's start:

    * `part = policy.assign(frame, offset_ns)` for each frame; the part is the present one or one that is still open.
      Its own zero is `policy.begin_ns(part)`. Frames may come a little before that zero or after the next one's.
    * After `assign`, and at each tick, `policy.open_from(now_offset_ns)`: the first part that can still get frames.
      Every part before it is complete: close it. This never goes down.
    * At each tick, ask for a key frame if `policy.keyframe_wanted(now_offset_ns)`.

    A frame is in exactly one part. Audio goes by time: what lies before a cut goes to the part before it, also when
    it comes later. A delta frame goes where its key frame is. When that part is closed (video was silent over the
    cut and goes on without a key frame) the present part gets it, which begins, as an archive does, by leaving out
    video before its first key frame.
    """

    __slots__ = (
        "_asked_ns", "_begins_ns", "_boundary_ns", "_duration_ns", "_early_ns", "_first_asked_ns", "_has_audio",
        "_has_video", "_keyframe_part", "_latest_ns", "_oldest", "_reached_ns", "_video_ns",
    )  # fmt: skip

    def __init__(self, duration_ns: int, has_video: bool, has_audio: bool = True) -> None:
        if duration_ns <= 0:
            raise ValueError(f"a part cannot last {duration_ns} ns")
        self._duration_ns = duration_ns
        self._has_video = has_video
        self._has_audio = has_audio
        self._early_ns = min(EARLY_NS, duration_ns // 4)
        self._boundary_ns = duration_ns
        self._begins_ns = {0: 0}
        self._oldest = 0
        self._latest_ns = 0
        self._reached_ns = -1
        self._video_ns: int | None = None
        self._keyframe_part: int | None = None
        self._first_asked_ns: int | None = None
        self._asked_ns = 0

    def assign(self, frame: Frame, offset_ns: int) -> int:
        """Give the index of the part of this frame. Offsets never go down within a kind."""
        if frame.kind == "video":
            part = self._assign_video(frame.unit.is_keyframe, offset_ns)
        else:
            part = self._assign_audio(offset_ns)
        self._latest_ns = max(self._latest_ns, offset_ns)
        return part

    def begin_ns(self, part: int) -> int:
        """Give the offset at which a part that is still open began."""
        return self._begins_ns[part]

    def open_from(self, now_offset_ns: int) -> int:
        """Give the first part that can still get frames; the parts before it can be closed."""
        while self._oldest < self._present and self._is_complete(self._oldest, now_offset_ns):
            del self._begins_ns[self._oldest]
            self._oldest += 1
        return self._oldest

    def keyframe_wanted(self, now_offset_ns: int) -> bool:
        """Whether to ask for a key frame now: ahead of a boundary, and while the present part has none.

        Also of video that is silent now: a paused one, or a screen at rest, may answer. Of video that has sent
        nothing yet, the archive's start has asked.
        """
        if self._video_ns is None:
            return False
        lacks_keyframe = self._keyframe_part != self._present
        if not lacks_keyframe and now_offset_ns < self._boundary_ns - min(LEAD_NS, self._early_ns):
            self._first_asked_ns = None
            return False
        if self._first_asked_ns is None:
            self._first_asked_ns = now_offset_ns
        else:
            pause_ns = min(max(REPEAT_NS, (self._asked_ns - self._first_asked_ns) // 2), MAX_REPEAT_NS)
            if now_offset_ns - self._asked_ns < pause_ns:
                return False
        self._asked_ns = now_offset_ns
        return True

    @property
    def _present(self) -> int:
        return self._oldest + len(self._begins_ns) - 1

    def _assign_video(self, is_keyframe: bool, offset_ns: int) -> int:
        self._video_ns = offset_ns
        if is_keyframe:
            if offset_ns >= self._boundary_ns - self._early_ns:
                self._cut(offset_ns)
            self._keyframe_part = self._part_at(offset_ns)
            return self._keyframe_part
        if self._keyframe_part is not None and self._keyframe_part >= self._oldest:
            return self._keyframe_part
        return self._present

    def _assign_audio(self, offset_ns: int) -> int:
        self._reached_ns = offset_ns
        if offset_ns >= self._boundary_ns and self._video_is_silent(offset_ns):
            boundary_ns = offset_ns // self._duration_ns * self._duration_ns
            self._cut(boundary_ns if boundary_ns > self._latest_ns else offset_ns)
        return self._part_at(offset_ns)

    def _part_at(self, offset_ns: int) -> int:
        """Return the part of this offset, or the oldest one that is open."""
        part = self._present
        while part > self._oldest and offset_ns < self._begins_ns[part]:
            part -= 1
        return part

    def _video_is_silent(self, offset_ns: int) -> bool:
        return not self._has_video or self._video_ns is None or offset_ns - self._video_ns > SILENT_NS

    def _cut(self, begin_ns: int) -> None:
        """Begin a part; the next boundary is the first one that this part does not already serve."""
        self._begins_ns[self._present + 1] = begin_ns
        self._boundary_ns = ((begin_ns + self._early_ns) // self._duration_ns + 1) * self._duration_ns
        self._first_asked_ns = None

    def _is_complete(self, part: int, now_offset_ns: int) -> bool:
        begin_ns, next_begin_ns = self._begins_ns[part], self._begins_ns[part + 1]
        passed_ns = now_offset_ns - next_begin_ns
        has_sound = not self._has_audio or self._reached_ns >= next_begin_ns
        has_pictures = self._keyframe_part != part
        if (has_sound and has_pictures) or passed_ns < CLOSE_AFTER_NS:
            return has_sound and has_pictures
        sound_stopped = not has_sound and self._reached_ns >= begin_ns
        pictures_stopped = not has_pictures and self._video_ns is not None and self._video_ns < next_begin_ns
        return passed_ns >= HELD_UP_NS or not (sound_stopped or pictures_stopped)
