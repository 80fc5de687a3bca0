"""Where an archive is split into parts.

Boundaries are the multiples of the split duration on the archive's clock, so that parts do not drift. A part begins

* at the first video key frame not earlier than 0.35 s before the boundary (a quarter of the duration, if that is
  less). A key frame is requested 0.3 s ahead, and again until it arrives, so that parts begin within 0.5 s of the
  boundary. Where video ignores the request, the part goes on to the next key frame;
* without video, or with video that had no frame for 1 s (muted, frozen, lost): at the boundary itself, by audio.

A boundary without a frame after it, or within a long group of pictures, begins no part.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Frame

LEAD_NS: Final = 300 * NS_PER_MS
"""How far ahead of a boundary the key frame is requested: a round trip and an encoder's delay."""
EARLY_NS: Final = 350 * NS_PER_MS
"""How far ahead of a boundary a key frame may begin the part."""
REPEAT_NS: Final = 300 * NS_PER_MS
"""The pause before the first repetition of a request; later pauses are longer."""
MAX_REPEAT_NS: Final = 5 * NS_PER_S
SILENT_NS: Final = NS_PER_S
"""Video without a frame for this long does not decide where a part begins."""
CLOSE_AFTER_NS: Final = 1500 * NS_PER_MS
"""How long after the next part's begin a part is closed, even if nothing shows that it is complete."""
CLOSE_LATE_NS: Final = 10 * NS_PER_S
"""The same where a kind has stopped within the part: it may be delayed, and what catches up belongs there."""


class SplitPolicy:
    """Assigns each frame, in file order, to a part. Parts are counted from 0.

    Use, with offsets in ns from the archive's start:

    * `part = policy.assign(frame, offset_ns)` for each frame; the part is the current one or one that is still open.
      It begins at `policy.begin_ns(part)`. A frame's offset may be a little before that, or after the next begin.
    * After `assign`, and at each tick, `policy.open_from(now_offset_ns)`: the first part that may still get frames.
      Every part before it is complete and can be closed. This never decreases.
    * At each tick, request a key frame if `policy.keyframe_wanted(now_offset_ns)`.

    A frame is in exactly one part. Audio is assigned by time, also when it is late. A delta frame is assigned to the
    part of its key frame. If that part is closed (video was silent over the boundary and continues without a key
    frame), it is assigned to the current part, which, like an archive, leaves out video before its first key frame.
    """

    __slots__ = (
        "_audio_ns",
        "_begins_ns",
        "_boundary_ns",
        "_duration_ns",
        "_early_ns",
        "_first_open",
        "_first_request_ns",
        "_has_audio",
        "_has_video",
        "_keyframe_part",
        "_latest_ns",
        "_request_ns",
        "_video_ns",
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
        self._first_open = 0
        self._latest_ns = 0
        self._audio_ns = -1
        self._video_ns: int | None = None
        self._keyframe_part: int | None = None
        self._first_request_ns: int | None = None
        self._request_ns = 0

    def assign(self, frame: Frame, offset_ns: int) -> int:
        """Return the index of this frame's part. Offsets never decrease within a kind."""
        if frame.kind == "video":
            part = self._assign_video(frame.unit.is_keyframe, offset_ns)
        else:
            part = self._assign_audio(offset_ns)
        self._latest_ns = max(self._latest_ns, offset_ns)
        return part

    def begin_ns(self, part: int) -> int:
        """Return the offset at which an open part began."""
        return self._begins_ns[part]

    def open_from(self, now_offset_ns: int) -> int:
        """Return the first part that may still get frames; the parts before it can be closed."""
        while self._first_open < self._current and self._is_complete(self._first_open, now_offset_ns):
            del self._begins_ns[self._first_open]
            self._first_open += 1
        return self._first_open

    def keyframe_wanted(self, now_offset_ns: int) -> bool:
        """Return whether to request a key frame now: ahead of a boundary, and while the current part has none.

        Silent video is asked too: a paused one, or a shared screen without changes, may answer. Video that has sent
        nothing yet was asked at the archive's start.
        """
        if self._video_ns is None:
            return False
        lacks_keyframe = self._keyframe_part != self._current
        if not lacks_keyframe and now_offset_ns < self._boundary_ns - min(LEAD_NS, self._early_ns):
            self._first_request_ns = None
            return False
        if self._first_request_ns is None:
            self._first_request_ns = now_offset_ns
        else:
            pause_ns = min(max(REPEAT_NS, (self._request_ns - self._first_request_ns) // 2), MAX_REPEAT_NS)
            if now_offset_ns - self._request_ns < pause_ns:
                return False
        self._request_ns = now_offset_ns
        return True

    @property
    def _current(self) -> int:
        return self._first_open + len(self._begins_ns) - 1

    def _assign_video(self, is_keyframe: bool, offset_ns: int) -> int:
        self._video_ns = offset_ns
        if is_keyframe:
            if offset_ns >= self._boundary_ns - self._early_ns:
                self._begin_part(offset_ns)
            self._keyframe_part = self._part_at(offset_ns)
            return self._keyframe_part
        if self._keyframe_part is not None and self._keyframe_part >= self._first_open:
            return self._keyframe_part
        return self._current

    def _assign_audio(self, offset_ns: int) -> int:
        self._audio_ns = offset_ns
        if offset_ns >= self._boundary_ns and self._video_is_silent(offset_ns):
            boundary_ns = offset_ns // self._duration_ns * self._duration_ns
            self._begin_part(boundary_ns if boundary_ns > self._latest_ns else offset_ns)
        return self._part_at(offset_ns)

    def _part_at(self, offset_ns: int) -> int:
        """Return the part of this offset, or the first one that is open."""
        part = self._current
        while part > self._first_open and offset_ns < self._begins_ns[part]:
            part -= 1
        return part

    def _video_is_silent(self, offset_ns: int) -> bool:
        return not self._has_video or self._video_ns is None or offset_ns - self._video_ns > SILENT_NS

    def _begin_part(self, begin_ns: int) -> None:
        """Begin a part; the next boundary is the first one for which this part did not begin."""
        self._begins_ns[self._current + 1] = begin_ns
        self._boundary_ns = ((begin_ns + self._early_ns) // self._duration_ns + 1) * self._duration_ns
        self._first_request_ns = None

    def _is_complete(self, part: int, now_offset_ns: int) -> bool:
        begin_ns, next_begin_ns = self._begins_ns[part], self._begins_ns[part + 1]
        passed_ns = now_offset_ns - next_begin_ns
        has_audio = not self._has_audio or self._audio_ns >= next_begin_ns
        has_video = self._keyframe_part != part
        if (has_audio and has_video) or passed_ns < CLOSE_AFTER_NS:
            return has_audio and has_video
        audio_stopped = not has_audio and self._audio_ns >= begin_ns
        video_stopped = not has_video and self._video_ns is not None and self._video_ns < next_begin_ns
        return passed_ns >= CLOSE_LATE_NS or not (audio_stopped or video_stopped)
