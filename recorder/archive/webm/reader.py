"""Reads back what the muxer writes: the header of `layout.py`, the clusters of `cluster.py`. No other WebM files.

Of each cluster only the first block is read, which is where key frames are; a file is not read from end to end.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from rokuga.recorder.archive.container import MIN_DURATION_MS
from rokuga.recorder.archive.webm.cluster import AUDIO_CUE_MS
from rokuga.recorder.archive.webm.ebml import LayoutError, read_element
from rokuga.recorder.archive.webm.layout import (
    AUDIO,
    AUDIO_TRACK,
    CHANNELS,
    CLUSTER,
    CLUSTER_TIMESTAMP,
    CODEC_ID,
    CODEC_PRIVATE,
    DATE,
    DATE_ORIGIN_WALL_NS,
    DURATION,
    EBML_HEADER_BYTES,
    INFO,
    KEYFRAME_FLAG,
    PIXEL_HEIGHT,
    PIXEL_WIDTH,
    SEEK_PRE_ROLL,
    SEGMENT,
    SEGMENT_UID,
    SIMPLE_BLOCK,
    TRACK_ENTRY,
    TRACK_NUMBER,
    TRACKS,
    VIDEO,
    VIDEO_TRACK,
    AudioEntry,
    CuePoint,
    Description,
    VideoEntry,
)

BLOCK_HEAD_BYTES: Final = 13
"""The largest size of all that is before a block's payload."""
FIRST_BLOCK_BYTES: Final = 64
"""Enough for the heads of a cluster and its first block."""
MAX_HEADER_BYTES: Final = 65_536

Read = Callable[[int, int], bytes]
"""`read(size, offset)` returns up to `size` bytes of the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header that was read, with its size. `file_bytes` is None for a file that was not finished."""

    description: Description
    size_bytes: int
    file_bytes: int | None
    duration_ms: int


class Cluster(NamedTuple):
    """The offsets of a complete cluster, of its data and of its end, in the file."""

    offset: int
    data_offset: int
    end: int


class Block(NamedTuple):
    """A SimpleBlock's head (RFC 9559 section 10.2): track number, time in ms in the file, key flag."""

    track: int
    time_ms: int
    is_keyframe: bool


def read_header(read: Read) -> Header:
    """Read everything before the first cluster. Raises LayoutError for bytes that the muxer does not write."""
    head = read(MAX_HEADER_BYTES, 0)
    segment = read_element(head, EBML_HEADER_BYTES)
    if segment.id != SEGMENT:
        raise LayoutError("no Segment")
    found: dict[int, bytes] = {}
    offset = segment.data_offset
    try:
        while (child := read_element(head, offset)).id != CLUSTER:
            found[child.id] = head[child.data_offset : child.end]
            offset = child.end
        info = dict(_elements(found[INFO]))
        entries = [dict(_elements(data)) for kind, data in _elements(found[TRACKS]) if kind == TRACK_ENTRY]
        tracks = {int.from_bytes(entry[TRACK_NUMBER], "big"): entry for entry in entries}
        return Header(
            Description(
                info[SEGMENT_UID],
                DATE_ORIGIN_WALL_NS + int.from_bytes(info[DATE], "big", signed=True),
                _video(tracks[VIDEO_TRACK]) if VIDEO_TRACK in tracks else None,
                _audio(tracks[AUDIO_TRACK]) if AUDIO_TRACK in tracks else None,
            ),
            size_bytes=offset,
            file_bytes=None if segment.data_size is None else segment.end,
            duration_ms=round(struct.unpack("!d", info[DURATION])[0]),
        )
    except (KeyError, ValueError, OverflowError, struct.error) as error:
        raise LayoutError(f"the header is not one that the muxer writes: {error!r}") from error


@dataclass(slots=True)
class Contents:
    """The complete clusters of a file, its cue points, and the time of its last block."""

    clusters: list[Cluster] = field(default_factory=list)
    cue_points: list[CuePoint] = field(default_factory=list)
    duration_ms: int = MIN_DURATION_MS

    @property
    def end(self) -> int:
        """The offset of the last cluster's end."""
        return self.clusters[-1].end

    def drop_last(self) -> None:
        """Remove the last cluster and its cue points."""
        cluster = self.clusters.pop()
        while self.cue_points and self.cue_points[-1].cluster_offset == cluster.offset:
            self.cue_points.pop()


def read_contents(read: Read, header: Header, file_bytes: int) -> Contents:
    """Find the complete clusters of a file of `file_bytes`, up to the first that is not complete."""
    contents = Contents()
    cue_track = VIDEO_TRACK if header.description.video is not None else AUDIO_TRACK
    due_ms = 0
    offset = header.size_bytes
    while offset < file_bytes:
        head = read(FIRST_BLOCK_BYTES, offset)
        try:
            element = read_element(head, 0, base=offset)
            cluster = Cluster(offset, element.data_offset, element.end)
            if element.id != CLUSTER or cluster.end > file_bytes:
                break
            first = next(blocks(cluster, head), None)
        except LayoutError:
            break
        if first is not None and first.track == cue_track and first.is_keyframe and first.time_ms >= due_ms:
            contents.cue_points.append(CuePoint(first.time_ms, first.track, cluster.offset))
            due_ms = first.time_ms + AUDIO_CUE_MS if cue_track == AUDIO_TRACK else 0
        contents.clusters.append(cluster)
        offset = cluster.end
    find_end(read, contents)
    return contents


def without_empty_tracks(read: Read, header: Header, contents: Contents) -> Header:
    """Return the header with only the tracks that have blocks. Video has a cue point if it has any block."""
    video, audio = header.description.video, header.description.audio
    if video is not None and not any(point.track == VIDEO_TRACK for point in contents.cue_points):
        video = None
    if video is not None and not any(_has_audio(read, cluster) for cluster in contents.clusters):
        audio = None
    return replace(header, description=replace(header.description, video=video, audio=audio))


def _has_audio(read: Read, cluster: Cluster) -> bool:
    try:
        data = read(cluster.end - cluster.offset, cluster.offset)
        return any(block.track == AUDIO_TRACK for block in blocks(cluster, data))
    except LayoutError:  # damaged within: it stays as it is
        return False


def find_end(read: Read, contents: Contents) -> None:
    """Set the duration to the time of the last block; remove damaged clusters at the end.

    All blocks of the last cluster are read, with video those of the last two: in decoding order the last picture that
    is shown may be in the cluster before.
    """
    while contents.clusters:
        try:
            times_ms = _times_ms(read, contents.clusters[-1])
            last_ms = max(times_ms.values())
        except ValueError:  # no block, or a LayoutError
            contents.drop_last()
            continue
        if VIDEO_TRACK in times_ms and len(contents.clusters) > 1:
            with contextlib.suppress(ValueError):  # damaged within: it stays as it is
                last_ms = max(last_ms, *_times_ms(read, contents.clusters[-2]).values())
        contents.duration_ms = max(last_ms, MIN_DURATION_MS)
        return


def _times_ms(read: Read, cluster: Cluster) -> dict[int, int]:
    """Return the latest time of each track in a cluster."""
    data = read(cluster.end - cluster.offset, cluster.offset)
    times_ms: dict[int, int] = {}
    for block in blocks(cluster, data):
        times_ms[block.track] = max(block.time_ms, times_ms.get(block.track, block.time_ms))
    return times_ms


def blocks(cluster: Cluster, data: bytes) -> Iterator[Block]:
    """Yield the blocks whose heads are in `data`, the first bytes of the cluster.

    Raises LayoutError for a cluster that does not begin with its timestamp, or that contains anything but blocks.
    """
    data = data[: cluster.end - cluster.offset]
    timestamp = read_element(data, cluster.data_offset - cluster.offset)
    if timestamp.id != CLUSTER_TIMESTAMP:
        raise LayoutError("a cluster does not begin with its timestamp")
    cluster_ms = int.from_bytes(data[timestamp.data_offset : timestamp.end], "big")
    offset = timestamp.end
    is_all = len(data) == cluster.end - cluster.offset
    while offset < len(data) and (is_all or offset + BLOCK_HEAD_BYTES <= len(data)):
        block = read_element(data, offset)
        head = data[block.data_offset : block.data_offset + 4]
        if block.id != SIMPLE_BLOCK or len(head) < 4 or block.end > cluster.end - cluster.offset:
            raise LayoutError(f"element {block.id:X} instead of a SimpleBlock")
        delta_ms = int.from_bytes(head[1:3], "big", signed=True)
        yield Block(head[0] & 0x7F, cluster_ms + delta_ms, bool(head[3] & KEYFRAME_FLAG))
        offset = block.end


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        child = read_element(data, offset)
        yield child.id, data[child.data_offset : child.end]
        offset = child.end


def _video(entry: Mapping[int, bytes]) -> VideoEntry:
    picture = dict(_elements(entry[VIDEO]))
    return VideoEntry(
        entry[CODEC_ID].decode("ascii"),
        int.from_bytes(picture[PIXEL_WIDTH], "big"),
        int.from_bytes(picture[PIXEL_HEIGHT], "big"),
        entry.get(CODEC_PRIVATE, b""),
    )


def _audio(entry: Mapping[int, bytes]) -> AudioEntry:
    sound = dict(_elements(entry[AUDIO]))
    return AudioEntry(
        entry[CODEC_ID].decode("ascii"),
        int.from_bytes(sound[CHANNELS], "big"),
        entry.get(CODEC_PRIVATE, b""),
        int.from_bytes(entry.get(SEEK_PRE_ROLL, b""), "big"),
    )
