"""The header before the clusters and the Cues behind them, in the layout of Sora's own files (RFC 9559).

Hisui, Shiguredo's compositor, reads this layout only: DocType webm of version 4; TimestampScale, MuxingApp and
WritingApp in this order, both named "WebRTC SFU Sora"; video as track 1 and audio as track 2; TrackNumber first in a
TrackEntry; Cues right after the last cluster. The header has a fixed size, filled up with Void, and is rewritten in
place when a track begins and when the file is finished.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from rokuga.recorder.archive.webm.ebml import UNKNOWN_SIZE, LayoutError, element, unsigned, void
from rokuga.recorder.media import NS_PER_S

APPLICATION: Final = b"WebRTC SFU Sora"
VIDEO_TRACK: Final = 1
AUDIO_TRACK: Final = 2

SEGMENT: Final = 0x18538067
SEEK_HEAD: Final = 0x114D9B74
SEEK: Final = 0x4DBB
SEEK_ID: Final = 0x53AB
SEEK_POSITION: Final = 0x53AC
INFO: Final = 0x1549A966
TRACKS: Final = 0x1654AE6B
CLUSTER: Final = 0x1F43B675
CUES: Final = 0x1C53BB6B
CLUSTER_TIMESTAMP: Final = 0xE7
SIMPLE_BLOCK: Final = 0xA3
KEYFRAME_FLAG: Final = 0x80

TIMESTAMP_SCALE: Final = 0x2AD7B1
SEGMENT_UID: Final = 0x73A4
DATE: Final = 0x4461
DURATION: Final = 0x4489
TRACK_ENTRY: Final = 0xAE
TRACK_NUMBER: Final = 0xD7
CODEC_ID: Final = 0x86
CODEC_PRIVATE: Final = 0x63A2
SEEK_PRE_ROLL: Final = 0x56BB
VIDEO: Final = 0xE0
PIXEL_WIDTH: Final = 0xB0
PIXEL_HEIGHT: Final = 0xBA
AUDIO: Final = 0xE1
CHANNELS: Final = 0x9F

EBML_HEADER_BYTES: Final = 40
SEGMENT_DATA_OFFSET: Final = EBML_HEADER_BYTES + 12
RESERVED_FOR_SEEKING: Final = 178
"""Of SeekHead and Void together, as in Sora's files: Info begins at a fixed offset."""

DATE_ORIGIN_WALL_NS: Final = 978_307_200 * NS_PER_S
"""Matroska counts its dates from 2001-01-01T00:00:00 UTC."""


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """A video track: CodecID, size in pixels, CodecPrivate or b""."""

    codec_id: str
    width: int
    height: int
    codec_private: bytes = b""


@dataclass(frozen=True, slots=True)
class AudioEntry:
    """An audio track: CodecID, channels, CodecPrivate or b"", SeekPreRoll or 0."""

    codec_id: str
    channels: int
    codec_private: bytes = b""
    seek_pre_roll_ns: int = 0


@dataclass(frozen=True, slots=True)
class Description:
    """The constant part of a header: the tracks that have blocks, and the wall time of the file's zero."""

    segment_uid: bytes
    start_wall_ns: int
    video: VideoEntry | None = None
    audio: AudioEntry | None = None


class CuePoint(NamedTuple):
    """A key frame: its time in ms, its track, and the offset of its cluster in the file."""

    time_ms: int
    track: int
    cluster_offset: int


def header(
    total_bytes: int,
    description: Description,
    file_bytes: int | None = None,
    cues_offset: int | None = None,
    duration_ms: int = 0,
) -> bytes:
    """Return everything before the first cluster, `total_bytes` long.

    `file_bytes` is the size of the finished file, None while it is written: its Segment has no size yet. Raises
    LayoutError where `total_bytes` are too few.
    """
    info = _info(description, duration_ms)
    video, audio = description.video, description.audio
    tracks = element(
        TRACKS,
        (_video_entry(video) if video is not None else b"") + (_audio_entry(audio) if audio is not None else b""),
    )
    seeking = _seek_head(RESERVED_FOR_SEEKING, RESERVED_FOR_SEEKING + len(info), cues_offset)
    free_bytes = total_bytes - SEGMENT_DATA_OFFSET - RESERVED_FOR_SEEKING - len(info) - len(tracks)
    if free_bytes < 0 or free_bytes == 1:
        raise LayoutError(f"the header does not fit into {total_bytes} bytes")
    size = UNKNOWN_SIZE if file_bytes is None else (1 << 56 | file_bytes - SEGMENT_DATA_OFFSET).to_bytes(8, "big")
    segment = SEGMENT.to_bytes(4, "big") + size
    return b"".join((_ebml_header(), segment, seeking, info, tracks, void(free_bytes)))


def cues(points: bytes) -> bytes:
    """Return the Cues with these CuePoint elements (RFC 9559 section 5.1.5)."""
    return element(CUES, points)


def cue_point(point: CuePoint) -> bytes:
    """Return a CuePoint element."""
    position = unsigned(0xF7, point.track) + unsigned(0xF1, point.cluster_offset - SEGMENT_DATA_OFFSET)
    return element(0xBB, unsigned(0xB3, point.time_ms) + element(0xB7, position))


def _ebml_header() -> bytes:
    """Return the EBML header, with a size field so wide that the Segment begins at EBML_HEADER_BYTES."""
    data = b"".join(
        (
            unsigned(0x4286, 1),
            unsigned(0x42F7, 1),
            unsigned(0x42F2, 4),
            unsigned(0x42F3, 8),
            element(0x4282, b"webm"),
            unsigned(0x4287, 4),
            unsigned(0x4285, 2),
        )
    )
    return element(0x1A45DFA3, data, size_bytes=EBML_HEADER_BYTES - 4 - len(data))


def _seek_head(info: int, tracks: int, cues: int | None) -> bytes:
    """Return SeekHead and Void. Offsets are from the Segment's data, that of `cues` from the file's begin."""
    targets = [(INFO, info), (TRACKS, tracks)]
    if cues is not None:
        targets.append((CUES, cues - SEGMENT_DATA_OFFSET))
    seeks = b"".join(
        element(SEEK, element(SEEK_ID, identifier.to_bytes(4, "big")) + unsigned(SEEK_POSITION, position, 8))
        for identifier, position in targets
    )
    seek_head = element(SEEK_HEAD, seeks)
    return seek_head + void(RESERVED_FOR_SEEKING - len(seek_head))


def _info(description: Description, duration_ms: int) -> bytes:
    date = description.start_wall_ns - DATE_ORIGIN_WALL_NS
    return element(
        INFO,
        b"".join(
            (
                unsigned(TIMESTAMP_SCALE, 1_000_000),
                element(0x4D80, APPLICATION),
                element(0x5741, APPLICATION),
                element(SEGMENT_UID, description.segment_uid),
                element(DATE, date.to_bytes(8, "big", signed=True)),
                element(DURATION, struct.pack("!d", float(duration_ms))),
            )
        ),
    )


def _video_entry(video: VideoEntry) -> bytes:
    sizes = (
        unsigned(PIXEL_WIDTH, video.width)
        + unsigned(PIXEL_HEIGHT, video.height)
        + unsigned(0x54B0, video.width)
        + unsigned(0x54BA, video.height)
    )
    return element(
        TRACK_ENTRY,
        b"".join(
            (
                unsigned(TRACK_NUMBER, VIDEO_TRACK),
                unsigned(0x73C5, VIDEO_TRACK),
                unsigned(0x9C, 0),
                element(0x22B59C, b"und"),
                element(CODEC_ID, video.codec_id.encode()),
                unsigned(0x83, 1),
                element(VIDEO, sizes),
                element(CODEC_PRIVATE, video.codec_private) if video.codec_private else b"",
            )
        ),
    )


def _audio_entry(audio: AudioEntry) -> bytes:
    return element(
        TRACK_ENTRY,
        b"".join(
            (
                unsigned(TRACK_NUMBER, AUDIO_TRACK),
                unsigned(0x73C5, AUDIO_TRACK),
                unsigned(0x9C, 0),
                element(0x22B59C, b"und"),
                unsigned(0x88, 0),
                element(CODEC_ID, audio.codec_id.encode()),
                unsigned(SEEK_PRE_ROLL, audio.seek_pre_roll_ns) if audio.seek_pre_roll_ns else b"",
                unsigned(0x83, 2),
                element(AUDIO, unsigned(CHANNELS, audio.channels) + element(0xB5, struct.pack("!d", 48_000.0))),
                element(CODEC_PRIVATE, audio.codec_private) if audio.codec_private else b"",
            )
        ),
    )
