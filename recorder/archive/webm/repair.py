"""Makes a whole file of one that was cut off, in place: what is torn goes, Cues and header come.

The clusters stay where they are. Cues need some bytes; on a disk that is full they take the room of the last cluster.
A track is described on the disk before its first block is: one that the crash left without any is not in the file.
"""

import errno
import os
from typing import Final

from rokuga.recorder.archive.media_file import put_all
from rokuga.recorder.archive.metadata import FinishedFile
from rokuga.recorder.archive.webm.ebml import LayoutError, read_element
from rokuga.recorder.archive.webm.layout_reader import (
    FIRST_BLOCK_BYTES,
    Contents,
    Header,
    read_contents,
    read_header,
    settle_end,
    without_empty_tracks,
)
from rokuga.recorder.archive.webm.muxer import HEADER_BYTES
from rokuga.recorder.archive.webm.sora_layout import CLUSTER, cue_point, cues, header
from rokuga.recorder.media import Kind

CLUSTER_HEAD_BYTES: Final = 12
"""The most that an identifier of 4 bytes and a size are."""


def make_whole(path: str) -> FinishedFile | None:
    """Finish the file; None where there is nothing to play in it. Raises OSError.

    A file that was finished before is left as it is.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        return _make_whole(descriptor)
    except LayoutError:
        return None
    finally:
        os.close(descriptor)


def is_empty(path: str) -> bool:
    """Return whether a file in progress has nothing but a header, or a part of one, and maybe a torn cluster.

    False for anything else without a whole cluster: there is content that cannot be read. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size

        def read(size: int, offset: int) -> bytes:
            return os.pread(descriptor, size, offset)

        if size <= HEADER_BYTES:
            return True
        offset = read_header(read).size_bytes
        head = read(FIRST_BLOCK_BYTES, offset)
        if len(head) < CLUSTER_HEAD_BYTES:
            return True
        cluster = read_element(head, 0, base=offset)
    except LayoutError:
        return False
    else:
        return cluster.id == CLUSTER and cluster.data_size is not None and cluster.end > size
    finally:
        os.close(descriptor)


def _make_whole(descriptor: int) -> FinishedFile | None:
    def read(size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    size = os.fstat(descriptor).st_size
    found = read_header(read)
    if found.file_bytes == size:
        return _whole(found, size, found.duration_ms)
    contents = read_contents(read, found, size)
    present = without_empty_tracks(read, found, contents)
    if present != found:
        found, contents = present, read_contents(read, present, size)
    while contents.clusters:
        os.ftruncate(descriptor, contents.end)
        try:
            size = _end(descriptor, found, contents)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            contents.drop_last()
            settle_end(read, contents)
        else:
            return _whole(found, size, contents.duration_ms)
    return None


def _end(descriptor: int, found: Header, contents: Contents) -> int:
    """Write Cues and header; give the file's size."""
    data = cues(b"".join(map(cue_point, contents.cue_points)))
    put_all(descriptor, data, contents.end)
    size = contents.end + len(data)
    final = header(found.size_bytes, found.description, size, contents.end, contents.duration_ms)
    put_all(descriptor, final, 0)
    os.fsync(descriptor)
    return size


def _whole(found: Header, size_bytes: int, duration_ms: int) -> FinishedFile:
    description = found.description
    video, audio = description.video, description.audio
    kinds: dict[Kind, bool] = {"audio": audio is not None, "video": video is not None}
    return FinishedFile(
        size_bytes=size_bytes,
        kinds=frozenset(kind for kind, is_there in kinds.items() if is_there),
        width=video.width if video is not None else 0,
        height=video.height if video is not None else 0,
        start_wall_ns=description.start_wall_ns,
        duration_ms=duration_ms,
        stored={},
    )
