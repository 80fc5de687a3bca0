"""Completes a file that was cut off, in place: a torn cluster is cut away, Cues and header are written.

The other clusters stay where they are. Cues need some bytes: on a full disk they replace the last cluster. The header
on the disk describes a track before its first block; a track without blocks is removed from it.
"""

import errno
import os
from contextlib import closing
from typing import Final

from rokuga.recorder.archive.container import FinishedFile, Unplayable
from rokuga.recorder.archive.media_file import write_all
from rokuga.recorder.archive.webm.ebml import LayoutError, read_element
from rokuga.recorder.archive.webm.layout import CLUSTER, cue_point, cues, header
from rokuga.recorder.archive.webm.muxer import HEADER_BYTES
from rokuga.recorder.archive.webm.reader import (
    FIRST_BLOCK_BYTES,
    Contents,
    Header,
    find_end,
    read_contents,
    read_header,
    without_empty_tracks,
)
from rokuga.recorder.media import Kind

MAX_CLUSTER_HEAD_BYTES: Final = 12
"""An identifier of 4 bytes and a size of 8."""


def repair(path: str) -> FinishedFile | Unplayable:
    """Complete a file; leave a finished one as it is. Raises OSError."""
    with closing(_File(path, os.O_RDWR)) as file:
        try:
            finished = _finished(file) or _repaired(file)
        except LayoutError:
            finished = None
        if finished is not None:
            return finished
        return Unplayable.EMPTY if _is_empty(file) else Unplayable.UNREADABLE


def inspect(path: str) -> FinishedFile | None:
    """Return what a finished file contains, None for any other. Raises OSError."""
    with closing(_File(path, os.O_RDONLY)) as file:
        try:
            return _finished(file)
        except LayoutError:
            return None


class _File:
    """A file of which parts are read."""

    def __init__(self, path: str, flags: int) -> None:
        self.descriptor = os.open(path, flags)

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self, size_bytes: int, offset: int) -> bytes:
        return os.pread(self.descriptor, size_bytes, offset)

    def close(self) -> None:
        os.close(self.descriptor)


def _finished(file: _File) -> FinishedFile | None:
    size_bytes = file.size_bytes
    found = read_header(file.read)
    return _finished_file(found, size_bytes, found.duration_ms) if found.file_bytes == size_bytes else None


def _repaired(file: _File) -> FinishedFile | None:
    """Complete an unfinished file; None where it has no complete cluster. Raises LayoutError."""
    size_bytes = file.size_bytes
    found = read_header(file.read)
    contents = read_contents(file.read, found, size_bytes)
    present = without_empty_tracks(file.read, found, contents)
    if present != found:
        found, contents = present, read_contents(file.read, present, size_bytes)
    while contents.clusters:
        os.ftruncate(file.descriptor, contents.end)
        try:
            size_bytes = _write_end(file, found, contents)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            contents.drop_last()
            find_end(file.read, contents)
        else:
            return _finished_file(found, size_bytes, contents.duration_ms)
    return None


def _is_empty(file: _File) -> bool:
    """Return whether a file has nothing but a header, or a part of one, and maybe a torn cluster.

    False for anything else without a complete cluster: there is content that cannot be read.
    """
    size_bytes = file.size_bytes
    if size_bytes <= HEADER_BYTES:
        return True
    try:
        offset = read_header(file.read).size_bytes
        head = file.read(FIRST_BLOCK_BYTES, offset)
        if len(head) < MAX_CLUSTER_HEAD_BYTES:
            return True
        cluster = read_element(head, 0, base=offset)
    except LayoutError:
        return False
    return cluster.id == CLUSTER and cluster.data_size is not None and cluster.end > size_bytes


def _write_end(file: _File, found: Header, contents: Contents) -> int:
    """Write Cues and header and fsync them; return the file's size."""
    data = cues(b"".join(map(cue_point, contents.cue_points)))
    write_all(file.descriptor, data, contents.end)
    size_bytes = contents.end + len(data)
    final = header(found.size_bytes, found.description, size_bytes, contents.end, contents.duration_ms)
    write_all(file.descriptor, final, 0)
    os.fsync(file.descriptor)
    return size_bytes


def _finished_file(found: Header, size_bytes: int, duration_ms: int) -> FinishedFile:
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
