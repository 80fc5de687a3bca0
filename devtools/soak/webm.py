"""A WebM reader (RFC 9559) that shares no code with the writer: the blocks, cues and duration of a file."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rokuga.recorder.media import Kind

EBML: Final = 0x1A45DFA3
SEGMENT: Final = 0x18538067
INFO: Final = 0x1549A966
DURATION: Final = 0x4489
TRACKS: Final = 0x1654AE6B
TRACK_ENTRY: Final = 0xAE
TRACK_NUMBER: Final = 0xD7
TRACK_TYPE: Final = 0x83
CLUSTER: Final = 0x1F43B675
CLUSTER_TIME: Final = 0xE7
SIMPLE_BLOCK: Final = 0xA3
CUES: Final = 0x1C53BB6B
CUE_POINT: Final = 0xBB
CUE_TIME: Final = 0xB3
CUE_POSITIONS: Final = 0xB7
CUE_TRACK: Final = 0xF7
CUE_CLUSTER: Final = 0xF1


class WebmError(ValueError):
    """The bytes are not a finished WebM file."""


class StoredBlock(NamedTuple):
    """One access unit, with its time in ms since the start of the file."""

    time_ms: int
    data: bytes
    is_keyframe: bool


@dataclass(slots=True)
class WebmFile:
    """The contents of a file. A cue is kind, time in ms, and whether its cluster has a key frame of that time."""

    duration_ms: float = 0.0
    blocks: dict[Kind, list[StoredBlock]] = field(default_factory=dict)
    cues: list[tuple[Kind, int, bool]] = field(default_factory=list)


def read_webm(data: bytes) -> WebmFile:
    """Read a whole file. Raises WebmError if a size is unknown or does not fit, or an element is missing."""
    try:
        return _read(data)
    except (IndexError, KeyError, struct.error) as error:
        raise WebmError(f"no finished WebM: {error!r}") from error


def _read(data: bytes) -> WebmFile:
    top = list(_children(data, 0, len(data)))
    if [identifier for identifier, *_ in top] != [EBML, SEGMENT]:
        raise WebmError("not one EBML header and one Segment")
    *_, segment, segment_end = top[1]
    file = WebmFile()
    kinds: dict[int, Kind] = {}
    keyframes: dict[int, set[tuple[int, int]]] = {}
    points: list[tuple[int, int, int]] = []
    for identifier, at, begin, end in _children(data, segment, segment_end):
        if identifier == INFO:
            (file.duration_ms,) = struct.unpack("!d", _fields(data, begin, end)[DURATION])
        elif identifier == TRACKS:
            for *_, entry_begin, entry_end in _children(data, begin, end):
                fields = _fields(data, entry_begin, entry_end)
                kinds[_number(fields[TRACK_NUMBER])] = "video" if _number(fields[TRACK_TYPE]) == 1 else "audio"
            file.blocks = {kind: [] for kind in kinds.values()}
        elif identifier == CLUSTER:
            keyframes[at - segment] = _read_cluster(data, begin, end, kinds, file)
        elif identifier == CUES:
            points += (_read_point(data, b, e) for i, _, b, e in _children(data, begin, end) if i == CUE_POINT)
    file.cues = [(kinds[track], time, (track, time) in keyframes[at]) for time, track, at in points]
    return file


def _read_cluster(data: bytes, begin: int, end: int, kinds: dict[int, Kind], file: WebmFile) -> set[tuple[int, int]]:
    """Append the blocks of a cluster to the file; return track and time of its key frames."""
    base_ms = 0
    keyframes = set()
    for identifier, _, at, block_end in _children(data, begin, end):
        if identifier == CLUSTER_TIME:
            base_ms = _number(data[at:block_end])
        elif identifier == SIMPLE_BLOCK:
            track = data[at] & 0x7F  # numbers below 127 have one byte
            (offset_ms,) = struct.unpack_from("!h", data, at + 1)
            is_keyframe = bool(data[at + 3] & 0x80)
            time_ms = base_ms + offset_ms
            file.blocks[kinds[track]].append(StoredBlock(time_ms, data[at + 4 : block_end], is_keyframe))
            if is_keyframe:
                keyframes.add((track, time_ms))
    return keyframes


def _read_point(data: bytes, begin: int, end: int) -> tuple[int, int, int]:
    """Return a cue point's time, track and the offset of its cluster in the Segment."""
    point = _fields(data, begin, end)
    position = point[CUE_POSITIONS]
    fields = _fields(position, 0, len(position))
    return _number(point[CUE_TIME]), _number(fields[CUE_TRACK]), _number(fields[CUE_CLUSTER])


def _children(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Return the elements between two offsets: id, offset, and where the data begins and ends."""
    while at < end:
        id_bytes = 9 - data[at].bit_length()
        size_at = at + id_bytes
        size_bytes = 9 - data[size_at].bit_length()
        begin = size_at + size_bytes
        mask = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(data[size_at:begin], "big") & mask
        if size == mask or begin + size > end:
            raise WebmError(f"the size of the element at {at} is unknown or too large")
        yield int.from_bytes(data[at:size_at], "big"), at, begin, begin + size
        at = begin + size


def _fields(data: bytes, begin: int, end: int) -> dict[int, bytes]:
    return {identifier: data[b:e] for identifier, _, b, e in _children(data, begin, end)}


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
