"""PyAV's Matroska muxer behind one small class.

Both tracks are declared to libavformat as codecs that they are not, and the header is written over by `sora_layout`:

* libavformat holds all audio in memory while a VP8 or VP9 track is silent; an H.264 one it lets go after
  `max_interleave_delta`. With an avcC of its own the payload is left alone.
* Opus packets without a duration, or of one that is no whole number of ms, become BlockGroups, which Hisui does not
  read; MP3 ones are SimpleBlocks.
* Both are declared always: video has to be track 1 and audio track 2 also when it is alone.

Measured: 1.9 us a frame with a flush for each, 1.7 without: clusters reach the disk as they end.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

import av
from av.container import InputContainer

from rokuga.recorder.archive.ebml import element, unsigned
from rokuga.recorder.archive.layout_reader import read_contents, read_header
from rokuga.recorder.archive.media_file import MediaFile
from rokuga.recorder.archive.sora_layout import (
    CLUSTER,
    INFO,
    SEGMENT,
    SHORTEST_MS,
    TRACKS,
    AudioEntry,
    Description,
    VideoEntry,
    cues,
    cues_offset,
    header,
)
from rokuga.recorder.media import NS_PER_MS, Kind

CLUSTER_MS: Final = 500
"""A crash loses what is in the cluster under way, and a little that waits before it."""

ROOM_BYTES: Final = 640
"""Kept free in the muxer's header, by a title, for what Sora's layout needs more (CodecPrivate of AV1)."""

OPTIONS: Final = {
    "max_interleave_delta": "1",
    "write_crc32": "0",
    "cluster_time_limit": str(CLUSTER_MS),
    "flush_packets": "1",
}
MILLISECOND: Final = Fraction(1, 1000)
AVCC: Final = bytes.fromhex("0142e01fffe1000a6742e01f8d6805005ba1010004 68ce3c80")


def _template() -> InputContainer:
    """Open a file of two declared tracks and no content, to take their descriptions from."""
    ebml = unsigned(0x4286, 1) + element(0x4282, b"matroska") + unsigned(0x4287, 4) + unsigned(0x4285, 2)
    video = (
        unsigned(0xD7, 1)
        + unsigned(0x73C5, 1)
        + element(0x86, b"V_MPEG4/ISO/AVC")
        + unsigned(0x83, 1)
        + element(0x63A2, AVCC)
        + element(0xE0, unsigned(0xB0, 4096) + unsigned(0xBA, 4096))
    )
    audio = (
        unsigned(0xD7, 2)
        + unsigned(0x73C5, 2)
        + element(0x86, b"A_MPEG/L3")
        + unsigned(0x83, 2)
        + element(0xE1, unsigned(0x9F, 2))
    )
    segment = (
        element(INFO, unsigned(0x2AD7B1, 1_000_000))
        + element(TRACKS, element(0xAE, video) + element(0xAE, audio))
        + element(CLUSTER, unsigned(0xE7, 0))
    )
    document = element(0x1A45DFA3, ebml) + element(SEGMENT, segment)
    return av.open(io.BytesIO(document), mode="r", format="matroska")


class Muxer:
    """Writes one file. Times are ns from the file's zero, rounded to ms; per kind they do not go down.

    All methods raise OSError or av.FFmpegError where the disk does not do as it should.
    """

    def __init__(self, path: str, segment_uid: bytes, start_wall_ns: int, mode: int = 0o640) -> None:
        """Create the file, its header on the disk. It has no track until one is described."""
        self._description = Description(segment_uid, start_wall_ns)
        self._duration_ms = SHORTEST_MS
        self._file = MediaFile(path, mode)
        try:
            with self._our_error():
                self._template = _template()
                self._container = av.open(self._file, "w", format="matroska", container_options=OPTIONS)
                self._container.metadata["title"] = "-" * ROOM_BYTES
                self._streams = {
                    "video": self._container.add_stream_from_template(self._template.streams.video[0], opaque=True),
                    "audio": self._container.add_stream_from_template(self._template.streams.audio[0], opaque=True),
                }
                self._container.start_encoding()
                self._header_bytes = self._file.end_header()
                self._file.put(header(self._header_bytes, self._description), 0)
        except BaseException:
            self._file.close()
            raise

    def describe(self, track: VideoEntry | AudioEntry) -> None:
        """Say what a track is, before its first frame; the header on the disk says so from now on."""
        if isinstance(track, VideoEntry):
            self._description = replace(self._description, video=track)
        else:
            self._description = replace(self._description, audio=track)
        self._file.put(header(self._header_bytes, self._description), 0)

    def write(self, kind: Kind, data: bytes, time_ns: int, is_keyframe: bool) -> None:
        """Write one block."""
        packet = av.Packet(data)
        packet.stream = self._streams[kind]
        time_ms = (time_ns + NS_PER_MS // 2) // NS_PER_MS
        packet.pts = packet.dts = time_ms
        packet.time_base = MILLISECOND
        packet.is_keyframe = is_keyframe
        try:
            self._container.mux_one(packet)
        except av.FFmpegError as error:
            raise self._file.error or error from error
        self._duration_ms = max(self._duration_ms, time_ms)

    def sync_data(self) -> None:
        """Make last what is on the disk so far; for another thread, before `close` or `abandon`."""
        self._file.sync_data()

    def close(self) -> int:
        """Make the file whole: Cues, sizes, duration, all of it on the disk. Give its size."""
        try:
            with self._our_error():
                self._close_container()
                offset = cues_offset(self._file.muxer_header)
                if offset is None:
                    offset = self._file.size
                    self._file.put(self._audio_cues(), offset)
                self._file.put(
                    header(self._header_bytes, self._description, self._file.size, offset, self._duration_ms), 0
                )
                self._file.sync()
        finally:
            self._file.close()
        return self._file.size

    def abandon(self) -> None:
        """Close without making the file whole; what is on the disk stays readable to its last cluster."""
        with contextlib.suppress(OSError, av.FFmpegError):  # the disk has failed before: that is why
            self._close_container()
        self._file.close()

    def _audio_cues(self) -> bytes:
        """Write what libavformat does not for a file that has a video track without content."""
        read = self._file.read
        return cues(read_contents(read, read_header(read), self._file.size).cue_points)

    def _close_container(self) -> None:
        try:
            self._container.close()
        finally:
            self._template.close()

    @contextlib.contextmanager
    def _our_error(self) -> Iterator[None]:
        """Raise what the disk said, not what libavformat made of it."""
        try:
            yield
        except av.FFmpegError as error:
            raise self._file.error or error from error
