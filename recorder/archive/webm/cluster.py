"""Clusters of SimpleBlocks as bytes (RFC 9559 sections 5.1.3 and 10.2).

A batch of blocks reaches the file in one write, as clusters with their sizes: a file that was cut off anywhere has
complete clusters and at most one torn one. Each video key frame begins a cluster, so that a cue point refers to the
key frame itself, and a reader finds all key frames in the first blocks of the clusters.
"""

from typing import Final

from rokuga.recorder.archive.webm.ebml import element_head, unsigned
from rokuga.recorder.archive.webm.layout import (
    AUDIO_TRACK,
    CLUSTER,
    CLUSTER_TIMESTAMP,
    KEYFRAME_FLAG,
    SIMPLE_BLOCK,
    VIDEO_TRACK,
    CuePoint,
    cue_point,
)

CLUSTER_MS: Final = 500
"""The longest time between the first block of a cluster and any other."""

AUDIO_CUE_MS: Final = 2000
"""The time between the cue points of a file without video."""

_BLOCK_HEAD_BYTES: Final = 4
"""Track number, relative timestamp and flags (section 10.2)."""


class ClusterWriter:
    """Collects blocks into clusters, which begin at `offset` in the file, and their cue points."""

    __slots__ = (
        "_audio_cue_due_ms",
        "_audio_cues",
        "_body_bytes",
        "_head_at",
        "_offset",
        "_pieces",
        "_time_ms",
        "_video_cues",
    )

    def __init__(self, offset: int) -> None:
        self._offset = offset  # of the current cluster
        self._pieces: list[bytes] = []  # of all clusters, joined once: media is not copied before
        self._head_at = 0
        self._body_bytes = 0  # 0: there is no current cluster
        self._time_ms = 0
        self._audio_cue_due_ms = 0
        self._audio_cues = bytearray()
        self._video_cues = bytearray()

    def add(self, track: int, data: bytes, time_ms: int, is_keyframe: bool) -> None:
        """Add a block; one that arrives late may be up to 32 s before its cluster."""
        is_cue = is_keyframe and track == VIDEO_TRACK
        delta_ms = time_ms - self._time_ms
        if not self._body_bytes or is_cue or not -0x8000 <= delta_ms < CLUSTER_MS:
            self._end_cluster()
            self._begin_cluster(track, time_ms, is_cue)
            delta_ms = 0
        size = len(data) + _BLOCK_HEAD_BYTES
        flags = KEYFRAME_FLAG if is_keyframe else 0
        begin = (0x80 | track) << 24 | (delta_ms & 0xFFFF) << 8 | flags
        if size < 0x3FFF:
            head = (SIMPLE_BLOCK << 48 | (0x4000 | size) << 32 | begin).to_bytes(7, "big")
        else:
            head = (SIMPLE_BLOCK << 64 | (0x10000000 | size) << 32 | begin).to_bytes(9, "big")
        self._pieces.append(head)
        self._pieces.append(data)
        self._body_bytes += len(head) + len(data)

    def drain(self) -> bytes:
        """Return the clusters of all blocks that were added since the last call."""
        self._end_cluster()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    @property
    def cue_points(self) -> bytes:
        """The cue points of all clusters so far: those of video, or without any those of audio."""
        return bytes(self._video_cues or self._audio_cues)

    def _begin_cluster(self, track: int, time_ms: int, is_cue: bool) -> None:
        self._time_ms = time_ms
        self._head_at = len(self._pieces)
        self._pieces.append(b"")  # its head, replaced when its size is known
        if is_cue:
            self._video_cues += cue_point(CuePoint(time_ms, VIDEO_TRACK, self._offset))
        elif track == AUDIO_TRACK and time_ms >= self._audio_cue_due_ms:
            self._audio_cue_due_ms = time_ms + AUDIO_CUE_MS
            self._audio_cues += cue_point(CuePoint(time_ms, AUDIO_TRACK, self._offset))

    def _end_cluster(self) -> None:
        if not self._body_bytes:
            return
        time = unsigned(CLUSTER_TIMESTAMP, self._time_ms)
        head = element_head(CLUSTER, len(time) + self._body_bytes) + time
        self._pieces[self._head_at] = head
        self._offset += len(head) + self._body_bytes
        self._body_bytes = 0
