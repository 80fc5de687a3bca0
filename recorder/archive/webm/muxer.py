"""One WebM file being written: a header that is rewritten in place, clusters behind it, Cues at the end.

libavformat's muxer was used here before. It knows neither Sora's layout nor blocks without a duration, holds sound
back while a video track is silent, keeps a cluster in memory until it ends, and cost about 2 us more a frame.
"""

from dataclasses import replace
from typing import Final

from rokuga.recorder.archive.media_file import MediaFile
from rokuga.recorder.archive.webm.cluster import ClusterWriter
from rokuga.recorder.archive.webm.sora_layout import (
    AUDIO_TRACK,
    SHORTEST_MS,
    VIDEO_TRACK,
    AudioEntry,
    Description,
    VideoEntry,
    cues,
    header,
)
from rokuga.recorder.media import NS_PER_MS, Kind

HEADER_BYTES: Final = 1280
"""Room for both tracks, with a CodecPrivate of 512 bytes."""

TRACKS: Final[dict[Kind, int]] = {"audio": AUDIO_TRACK, "video": VIDEO_TRACK}


class Muxer:
    """Writes one file. Times are ns from the file's zero, rounded to ms; per kind they do not go down.

    What is written reaches the disk with `end_batch`, in whole clusters. Methods raise OSError.
    """

    def __init__(self, path: str, segment_uid: bytes, start_wall_ns: int, mode: int = 0o640) -> None:
        """Create the file, its header on the disk. It has no track until one is described."""
        self._description = Description(segment_uid, start_wall_ns)
        self._duration_ms = SHORTEST_MS
        self._size = HEADER_BYTES
        self._clusters = ClusterWriter(HEADER_BYTES)
        self._file = MediaFile(path, mode)
        try:
            self._file.put(header(HEADER_BYTES, self._description), 0)
        except BaseException:
            self._file.close()
            raise

    def describe(self, track: VideoEntry | AudioEntry) -> None:
        """Say what a track is, before its first frame; the header on the disk says so from now on."""
        if isinstance(track, VideoEntry):
            self._description = replace(self._description, video=track)
        else:
            self._description = replace(self._description, audio=track)
        self._file.put(header(HEADER_BYTES, self._description), 0)

    def write(self, kind: Kind, data: bytes, time_ns: int, is_keyframe: bool) -> None:
        """Write one block, with those of its batch."""
        time_ms = (time_ns + NS_PER_MS // 2) // NS_PER_MS
        self._clusters.add(TRACKS[kind], data, time_ms, is_keyframe)
        self._duration_ms = max(self._duration_ms, time_ms)

    def end_batch(self) -> None:
        """Have the file take what was written."""
        data = self._clusters.take()
        self._file.put(data, self._size)
        self._size += len(data)

    def sync_data(self) -> None:
        """Make last what is on the disk so far; for another thread, before `close` or `abandon`."""
        self._file.sync_data()

    def close(self) -> int:
        """Make the file whole: Cues, sizes, duration, all of it on the disk. Give its size."""
        try:
            self.end_batch()
            end = cues(self._clusters.cue_points)
            self._file.put(end, self._size)
            size = self._size + len(end)
            self._file.put(header(HEADER_BYTES, self._description, size, self._size, self._duration_ms), 0)
            self._file.sync()
        finally:
            self._file.close()
        return size

    def abandon(self) -> None:
        """Close without making the file whole; what is on the disk stays readable to its last cluster."""
        self._file.close()
