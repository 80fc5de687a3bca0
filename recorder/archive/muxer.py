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
import os
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.container import InputContainer

from rokuga.recorder.archive.ebml import element, unsigned
from rokuga.recorder.archive.sora_layout import (
    CLUSTER,
    INFO,
    SEGMENT,
    TRACKS,
    AudioEntry,
    VideoEntry,
    audio_cues,
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

    def __init__(self, path: str, segment_uid: bytes, audio: AudioEntry | None, mode: int = 0o640) -> None:
        """Create the file, its header on the disk. It has no video track until `describe_video`."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
        self._path = path
        self._segment_uid = segment_uid
        self._audio = audio
        self._video: VideoEntry | None = None
        self._last_ms = 0
        self._has_audio = False
        self._template = _template()
        self._container = av.open(path, "w", format="matroska", container_options=OPTIONS)
        self._container.metadata["title"] = "-" * ROOM_BYTES
        self._streams = {
            "video": self._container.add_stream_from_template(self._template.streams.video[0], opaque=True),
            "audio": self._container.add_stream_from_template(self._template.streams.audio[0], opaque=True),
        }
        self._container.start_encoding()
        self._header_bytes = Path(path).stat().st_size
        self._patch(header(self._header_bytes, segment_uid, None, audio))

    def describe_video(self, video: VideoEntry) -> None:
        """Say what the video track is, before its first frame; the header on the disk says so from now on."""
        self._video = video
        self._patch(header(self._header_bytes, self._segment_uid, video, self._audio))

    def write(self, kind: Kind, data: bytes, time_ns: int, is_keyframe: bool) -> None:
        """Write one block."""
        packet = av.Packet(data)
        packet.stream = self._streams[kind]
        time_ms = (time_ns + NS_PER_MS // 2) // NS_PER_MS
        packet.pts = packet.dts = time_ms
        packet.time_base = MILLISECOND
        packet.is_keyframe = is_keyframe
        self._container.mux_one(packet)
        self._last_ms = max(self._last_ms, time_ms)
        if kind == "audio":
            self._has_audio = True

    def close(self) -> int:
        """Make the file whole: Cues, sizes, duration, Sora's layout, all of it on the disk. Give its size."""
        self._close_container()
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            size = os.fstat(descriptor).st_size
            cues = cues_offset(os.pread(descriptor, self._header_bytes, 0))
            if cues is None:
                cues = size
                data = audio_cues(lambda offset, count: os.pread(descriptor, count, offset), self._header_bytes, size)
                size += os.pwrite(descriptor, data, size)
            final = header(
                self._header_bytes,
                self._segment_uid,
                self._video,
                self._audio if self._has_audio else None,
                file_bytes=size,
                cues_offset=cues,
                duration_ms=self._last_ms,
            )
            os.pwrite(descriptor, final, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return size

    def abandon(self) -> None:
        """Close without making the file whole; what is on the disk stays readable to its last cluster."""
        with contextlib.suppress(OSError, av.FFmpegError):  # the disk has failed before: that is why
            self._close_container()
        self._patch(
            header(self._header_bytes, self._segment_uid, self._video, self._audio, duration_ms=self._last_ms)
        )

    def _close_container(self) -> None:
        try:
            self._container.close()
        finally:
            self._template.close()

    def _patch(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, data, 0)
        finally:
            os.close(descriptor)
