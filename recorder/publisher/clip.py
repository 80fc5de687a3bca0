"""A WebM clip as encoded units with their times: what a publisher sends as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
from av import VideoStream
from av.container import InputContainer
from av.stream import Stream

from rokuga.recorder.media import NS_PER_S, Kind

CODEC_NAMES: Final[Mapping[str, str]] = {"vp9": "VP9", "vp8": "VP8", "opus": "OPUS"}
"""FFmpeg's names of what can be published, and Sora's."""


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
    """Read a clip into memory. Raises ClipError for what is no file, no media or of another codec."""
    try:
        with av.open(str(path)) as container:
            return _read(container, kinds)
    except (av.FFmpegError, OSError) as error:
        raise ClipError(f"{path}: {error}") from error


def _read(container: InputContainer, kinds: Sequence[Kind]) -> Clip:
    streams = {kind: stream for kind in kinds if (stream := container.streams.best(kind)) is not None}
    units: dict[Kind, list[ClipUnit]] = {kind: [] for kind in streams}
    kind_of = {stream.index: kind for kind, stream in streams.items()}
    for packet in container.demux(*streams.values()):
        if packet.size and packet.pts is not None and packet.time_base is not None:
            time_ns = int(packet.pts * packet.time_base * NS_PER_S)
            units[kind_of[packet.stream_index]].append(ClipUnit(bytes(packet), time_ns, packet.is_keyframe))
    if not all(units.values()):
        raise ClipError(f"{container.name} has a track without content")
    if not units:
        raise ClipError(f"{container.name} has nothing to publish")
    begin_ns = min(track[0].time_ns for track in units.values())
    tracks = {kind: _track(stream, units[kind], begin_ns) for kind, stream in streams.items()}
    return Clip(tracks, max(_end_ns(track) for track in tracks.values()))


def _track(stream: Stream, units: Sequence[ClipUnit], begin_ns: int) -> ClipTrack:
    name = stream.codec_context.codec.canonical_name
    codec_type = CODEC_NAMES.get(name)
    if codec_type is None:
        raise ClipError(f"{name} cannot be published")
    shifted = [ClipUnit(unit.data, unit.time_ns - begin_ns, unit.is_keyframe) for unit in units]
    if isinstance(stream, VideoStream):
        return ClipTrack(codec_type, shifted, stream.width, stream.height)
    return ClipTrack(codec_type, shifted)


def _end_ns(track: ClipTrack) -> int:
    """The end of the last unit, which lasts as long as the mean of the others."""
    last_ns = track.units[-1].time_ns
    return last_ns + (last_ns - track.units[0].time_ns) // max(len(track.units) - 1, 1)
