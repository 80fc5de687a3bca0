"""A WebM clip as encoded units with their times, which a publisher sends without transcoding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
from av import VideoStream
from av.container import InputContainer
from av.stream import Stream

from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.table import CODECS, Codec
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind

CODEC_NAMES: Final[Mapping[str, str]] = {"vp9": "VP9", "vp8": "VP8", "opus": "OPUS"}
"""FFmpeg's names of the codecs that can be published, and Sora's."""

ROUNDING_NS: Final = 2 * NS_PER_MS
"""WebM's times are whole milliseconds, and so is the offset that FFmpeg subtracts."""


class ClipError(ValueError):
    """The file cannot be published."""


@dataclass(frozen=True, slots=True)
class ClipUnit:
    """One encoded picture or Opus packet, at its time in ns from the clip's start."""

    data: bytes
    time_ns: int
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class ClipTrack:
    """All units of one kind, in order. `width` and `height` are pixels, 0 for audio."""

    codec_type: str
    units: Sequence[ClipUnit]
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Clip:
    """A file's first video and first audio track."""

    tracks: Mapping[Kind, ClipTrack]
    duration_ns: int


def read_clip(path: Path, kinds: Sequence[Kind] = ("audio", "video")) -> Clip:
    """Read a clip into memory. Raises ClipError if it cannot be read, or its codecs cannot be published."""
    try:
        with av.open(str(path)) as container:
            streams = {kind: stream for kind in kinds if (stream := container.streams.best(kind)) is not None}
            if not streams:
                raise ClipError(f"{path} has no {' and no '.join(kinds) or 'kind'} to publish")
            codec_types = {kind: _codec_type(path, stream) for kind, stream in streams.items()}
            units = _read_units(container, streams, codec_types)
            sizes = {kind: (s.width, s.height) for kind, s in streams.items() if isinstance(s, VideoStream)}
    except (av.FFmpegError, OSError, PayloadError) as error:
        raise ClipError(f"{path}: {error}") from error
    for kind, found in units.items():
        if not found:
            raise ClipError(f"{path} has a track of {kind} without content")
        if not found[0].is_keyframe:
            raise ClipError(f"{path} does not begin with a key frame")
    begin_ns = min(found[0].time_ns for found in units.values())
    tracks = {
        kind: ClipTrack(
            codec_types[kind],
            [ClipUnit(unit.data, unit.time_ns - begin_ns, unit.is_keyframe) for unit in found],
            *sizes.get(kind, ()),
        )
        for kind, found in units.items()
    }
    return Clip(tracks, max(_end_ns(track) for track in tracks.values()))


def _read_units(
    container: InputContainer, streams: Mapping[Kind, Stream], codec_types: Mapping[Kind, str]
) -> Mapping[Kind, Sequence[ClipUnit]]:
    units: dict[Kind, list[ClipUnit]] = {kind: [] for kind in streams}
    kind_of = {stream.index: kind for kind, stream in streams.items()}
    for packet in container.demux(*streams.values()):
        if packet.size and packet.pts is not None and packet.time_base is not None:
            time_ns = int(packet.pts * packet.time_base * NS_PER_S)
            units[kind_of[packet.stream_index]].append(ClipUnit(bytes(packet), time_ns, packet.is_keyframe))
    if "audio" in units:
        units["audio"] = list(_without_rounding(units["audio"], CODECS[codec_types["audio"]]))
    return units


def _without_rounding(units: Sequence[ClipUnit], codec: Codec) -> Iterator[ClipUnit]:
    """Replace each packet's time by the end of the previous packet, unless they differ by more than rounding."""
    due_ns = 0
    for unit in units:
        if abs(unit.time_ns - due_ns) > ROUNDING_NS:
            due_ns = unit.time_ns
        yield ClipUnit(unit.data, due_ns, unit.is_keyframe)
        due_ns += codec.packet_duration_ns(unit.data)


def _codec_type(path: Path, stream: Stream) -> str:
    # A stream has no codec context if FFmpeg knows its codec but has no decoder for it.
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else "a codec that FFmpeg cannot read"
    if name not in CODEC_NAMES:
        raise ClipError(f"{path}: {name} cannot be published, only {', '.join(CODEC_NAMES)}")
    return CODEC_NAMES[name]


def _end_ns(track: ClipTrack) -> int:
    """Return the end of the last unit, whose duration is the mean of the others."""
    last_ns = track.units[-1].time_ns
    return last_ns + (last_ns - track.units[0].time_ns) // max(len(track.units) - 1, 1)
