"""One WebM file being written: a header that is rewritten in place, clusters behind it, Cues at the end.

docs/architecture.md explains why it is not libavformat's.
"""

from dataclasses import replace
from typing import Final

from rokuga.recorder.archive.container import MIN_DURATION_MS, Muxer
from rokuga.recorder.archive.media_file import MediaFile
from rokuga.recorder.archive.webm.cluster import ClusterWriter
from rokuga.recorder.archive.webm.codecs import MATROSKA_CODECS
from rokuga.recorder.archive.webm.layout import (
    AUDIO_TRACK,
    VIDEO_TRACK,
    AudioEntry,
    Description,
    VideoEntry,
    cues,
    header,
)
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig

MAX_CODEC_PRIVATE_BYTES: Final = 512
"""AV1 sends some 20 bytes."""

HEADER_BYTES: Final = 1280
"""Enough for both tracks, with a CodecPrivate of MAX_CODEC_PRIVATE_BYTES."""

DEFAULT_CHANNELS: Final = 2
"""Opus decodes to one channel or two, whatever was encoded; Sora writes 2."""

TRACKS: Final[dict[Kind, int]] = {"audio": AUDIO_TRACK, "video": VIDEO_TRACK}


class WebmMuxer(Muxer):
    """Writes one file, times rounded to ms. What is written reaches the file with `flush`, in complete clusters."""

    def __init__(
        self,
        path: str,
        audio: TrackConfig | None,
        video: TrackConfig | None,
        segment_uid: bytes,
        start_wall_ns: int,
        mode: int = 0o640,
    ) -> None:
        """Create the file and write its header, which has no track until one begins. Raises OSError."""
        self._audio = audio
        self._video = video
        self._description = Description(segment_uid, start_wall_ns)
        self._duration_ms = MIN_DURATION_MS
        self._size = HEADER_BYTES
        self._clusters = ClusterWriter(HEADER_BYTES)
        self._file = MediaFile(path, mode)
        try:
            self._file.write_at(header(HEADER_BYTES, self._description), 0)
        except BaseException:
            self._file.close()
            raise

    def begin_track(self, kind: Kind, unit: AccessUnit) -> bool:
        """Write the header with the track; False for a unit without a CodecPrivate, or with too large a one."""
        description = self._with_audio() if kind == "audio" else self._with_video(unit)
        if description is None:
            return False
        self._description = description
        self._file.write_at(header(HEADER_BYTES, description), 0)
        return True

    def write(self, kind: Kind, data: bytes, time_ns: int, is_keyframe: bool) -> None:
        """Append a block to the current cluster."""
        time_ms = (time_ns + NS_PER_MS // 2) // NS_PER_MS
        self._clusters.add(TRACKS[kind], data, time_ms, is_keyframe)
        self._duration_ms = max(self._duration_ms, time_ms)

    def flush(self) -> None:
        """Write the clusters to the file."""
        data = self._clusters.drain()
        self._file.write_at(data, self._size)
        self._size += len(data)

    def sync_data(self) -> None:
        """See `Muxer.sync_data`."""
        self._file.sync_data()

    def finish(self) -> int:
        """Write Cues, sizes and duration, fsync and close; return the file's size."""
        try:
            self.flush()
            end = cues(self._clusters.cue_points)
            self._file.write_at(end, self._size)
            size = self._size + len(end)
            self._file.write_at(header(HEADER_BYTES, self._description, size, self._size, self._duration_ms), 0)
            self._file.sync()
        finally:
            self._file.close()
        return size

    def abandon(self) -> None:
        """Close the file; it is readable to its last cluster."""
        self._file.close()

    def _with_audio(self) -> Description | None:
        if self._audio is None:
            return None
        codec = MATROSKA_CODECS[self._audio.codec_type]
        channels = 1 if self._audio.params.get("channels") == 1 else DEFAULT_CHANNELS
        entry = AudioEntry(codec.codec_id, channels, codec.codec_private(b"", channels), codec.seek_pre_roll_ns)
        return replace(self._description, audio=entry)

    def _with_video(self, keyframe: AccessUnit) -> Description | None:
        if self._video is None:
            return None
        codec = MATROSKA_CODECS[self._video.codec_type]
        try:
            codec_private = codec.codec_private(keyframe.data, 0)
        except PayloadError:
            return None
        if len(codec_private) > MAX_CODEC_PRIVATE_BYTES:
            return None
        return replace(
            self._description, video=VideoEntry(codec.codec_id, keyframe.width, keyframe.height, codec_private)
        )
