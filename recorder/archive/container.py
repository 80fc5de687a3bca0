"""What the recorder asks of a container, the file format of its media files.

A container is a package of its own beside this module and one row of `container_table.py`. It stores access units as
they are, without transcoding. A file has one path while it is written, finished and repaired; its final name comes
afterwards (`archive_file.py`). A container may use further files whose names begin with that path, and removes them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from rokuga.recorder.media import AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig


class ContainerError(ValueError):
    """The bytes of a file are not as the container writes them, or a value does not fit into the format."""


MIN_DURATION_MS: Final = 1
"""The shortest duration of a file: readers ignore a duration of 0."""


class Unplayable(Enum):
    """Why a file cannot be repaired."""

    EMPTY = "it has no frame"
    UNREADABLE = "its content cannot be read"


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """What a finished file contains. `width` and `height` are pixels, 0 for a file without video.

    `start_wall_ns` is the wall time of its zero. `stored` counts "audio" packets, "video" frames and the "keyframe"
    among them; it is empty for a file that was inspected or repaired.
    """

    size_bytes: int
    kinds: frozenset[Kind]
    width: int
    height: int
    start_wall_ns: int
    duration_ms: int
    stored: Mapping[str, int]


class Muxer(ABC):
    """One file being written. Methods raise OSError or ContainerError.

    A base class, not a Protocol: `write` is called for each frame, and mypyc calls the methods of native classes
    directly. List the module of a muxer in `tool.rokuga.compiled`: an interpreted class cannot inherit from this one
    where it is compiled.
    """

    @abstractmethod
    def begin_track(self, kind: Kind, unit: AccessUnit) -> bool:
        """Describe a track by its first unit, for video a key frame with its size, before that is written.

        Return False, and describe nothing, where the track cannot begin with this unit, or where the format cannot
        contain its codec: the unit is left out, the next one is tried.
        """

    @abstractmethod
    def write(self, kind: Kind, data: bytes, time_ns: int, is_keyframe: bool) -> None:
        """Append an access unit; `time_ns`, from the file's zero, does not decrease within a kind."""

    @abstractmethod
    def flush(self) -> None:
        """Pass to the operating system what was written since the last flush, so that a kill does not lose it."""

    @abstractmethod
    def sync_data(self) -> None:
        """Have the operating system write what was flushed to the disk. For any thread, before `finish` or `abandon`.

        Raises FileNotFoundError where the file was removed from its folder.
        """

    @abstractmethod
    def finish(self) -> int:
        """Complete the file, fsync and close it; return its size in bytes."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the file without completing it: `Container.repair` does so where it can."""


class Container(Protocol):
    """A file format. Paths may be of files under any name; methods raise OSError."""

    @property
    def name(self) -> str:
        """The `format` of documents."""
        ...

    @property
    def suffix(self) -> str:
        """What ends a file's name, without its dot."""
        ...

    @property
    def media_type(self) -> str:
        """The media type by which a file is served (RFC 6838)."""
        ...

    def open(
        self, path: str, audio: TrackConfig | None, video: TrackConfig | None, start_wall_ns: int, mode: int
    ) -> Muxer:
        """Create a file with these permissions, for the tracks that were negotiated; `start_wall_ns` is its zero.

        A negotiated track that no unit begins is not in the finished file.
        """
        ...

    def repair(self, path: str) -> FinishedFile | Unplayable:
        """Complete a file that was cut off anywhere, and fsync it; a finished one stays as it is.

        It may be called again on a file whose repair was itself cut off. An unplayable file stays where it is, maybe
        without its torn end.
        """
        ...

    def inspect(self, path: str) -> FinishedFile | None:
        """Return what a finished file contains; None for a file that is not finished, or not of this container."""
        ...
