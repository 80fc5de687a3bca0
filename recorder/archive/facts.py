"""What can happen to an archive: the facts that are applied to its journal (`journal.py`). Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.events import Document

Stats = Mapping[str, Any]
"""The `stats` of a document."""


class Failure(NamedTuple):
    """Why an archive failed; `errno` and `path` where the operating system reported it."""

    reason: str
    errno: int | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveOpened:
    """The archive begins."""


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A file has its final name. `index` is a part's `split_index`, or WHOLE_FILE."""

    index: str
    file: FinishedFile
    stop_wall_ns: int
    stats: Stats


@dataclass(frozen=True, slots=True)
class PartSalvaged:
    """A part has its final name, although the disk failed under it: its document is written later."""

    index: str
    file: FinishedFile
    stop_wall_ns: int
    stats: Stats


@dataclass(frozen=True, slots=True)
class FilesFound:
    """Recovery found these files, by index with the whole file last: the document of each, or the finished file."""

    files: dict[str, Document | FinishedFile]
    stats: Stats


@dataclass(frozen=True, slots=True)
class DocumentWritten:
    """The document of a file is on the disk."""

    index: str


@dataclass(frozen=True, slots=True)
class PartAnnounced:
    """A part whose document is written is next in the order of announcements."""

    index: str


@dataclass(frozen=True, slots=True)
class PartsEnded:
    """No other part follows, in this archive or in a later one of the connection. `document` if it exists already."""

    stop_wall_ns: int
    stats: Stats
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class PartsEndAnnounced:
    """All parts are announced, of an archive that may have ended before."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The archive ends although its connection goes on; documents from now on contain the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class ArchiveClosed:
    """All files are finished. `failure_if_empty` is the failure of an archive without anything to play."""

    stop_wall_ns: int
    stats: Stats
    failure_if_empty: Failure


@dataclass(frozen=True, slots=True)
class ArchiveFailed:
    """An error ended the archive."""

    stop_wall_ns: int
    stats: Stats
    failure: Failure


@dataclass(frozen=True, slots=True)
class RecoveryFailed:
    """An internal error keeps recovery from finishing the archive's files."""

    stats: Stats
    failure: Failure


Fact = (
    ArchiveOpened
    | FileFinished
    | PartSalvaged
    | FilesFound
    | DocumentWritten
    | PartAnnounced
    | PartsEnded
    | PartsEndAnnounced
    | Interrupted
    | ArchiveClosed
    | ArchiveFailed
    | RecoveryFailed
)
