"""Recordings and archives as values, which the store keeps and recovery reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rokuga.recorder.events import Document
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig

WHOLE_FILE: Final = ""
"""The index of the whole file in `ArchiveState.owed`."""


REPORT_FIELDS: Final = ("file_path", "filename", "metadata_file_path", "metadata_filename", "size")
"""The fields of an archive's document that the report contains."""


class RecordingStatus(StrEnum):
    """ACTIVE begins new archives; STOPPING waits for its last archive; FINISHED has its report."""

    ACTIVE = "active"
    STOPPING = "stopping"
    FINISHED = "finished"


class ArchiveStatus(StrEnum):
    """WRITING until the files are finished (AVAILABLE) or known to be lost (FAILED)."""

    WRITING = "writing"
    AVAILABLE = "available"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RecordingParameters:
    """The parameters of StartRecording. Durations in seconds; None if a key was omitted.

    `metadata_json` is JSON text, so that the value `null` ("null") differs from an omitted key (None).
    """

    channel_id: str
    expire_time: int
    split_duration: int | None = None
    split_only: bool | None = None
    metadata_json: str | None = None

    def has_whole_files(self, dual_output: bool) -> bool:
        """Return whether archives have a whole file; with `dual_output` also beside their parts."""
        return not self.split_only and (self.split_duration is None or dual_output)


@dataclass(frozen=True, slots=True)
class RecordingState:
    """One recording of one channel."""

    recording_id: str
    parameters: RecordingParameters
    start_wall_ns: int
    status: RecordingStatus = RecordingStatus.ACTIVE
    stop_wall_ns: int | None = None

    @property
    def created_at(self) -> int:
        """Unix seconds, the origin of all `*_offset` fields."""
        return self.start_wall_ns // 1_000_000_000

    @property
    def expired_at(self) -> int | None:
        """Unix seconds, None without a limit."""
        return self.created_at + self.parameters.expire_time if self.parameters.expire_time else None


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """One connection's archive in one recording.

    While it is written, `stop_wall_ns` is the end of the published parts, None before the first one. `document` is
    that of the whole file once it is finished (None for split-only recordings); `split_last_index` is like "0001",
    None without parts; `split_kinds` are the kinds of the parts. `owed` has the documents of finished files whose
    event is not stored yet, by the index of the part or WHOLE_FILE: a consumer may delete a file and its document as
    soon as both exist. `node_name` is the node that has the files, "" for this one.

    A connection has several archives in a recording if a fault ended one while the connection was open: `number`
    counts them from 1. The numbers of parts continue through all of them: `parts_before` is the last number of the
    earlier archives, `parts_start_wall_ns` their beginning, `split_last_index` and `split_kinds` are those of all.
    `owes_parts_end`: it has ended, and a later archive or the end of the connection publishes split-archive.end.
    """

    recording_id: str
    connection: ConnectionIdentity
    audio: TrackConfig | None
    video: TrackConfig | None
    start_wall_ns: int
    status: ArchiveStatus = ArchiveStatus.WRITING
    stop_wall_ns: int | None = None
    document: Document | None = None
    split_last_index: str | None = None
    split_kinds: frozenset[Kind] = frozenset()
    owed: Mapping[str, Document] = field(default_factory=dict)
    node_name: str = ""
    number: int = 1
    parts_before: int = 0
    parts_start_wall_ns: int | None = None
    owes_parts_end: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A recording that began or ended on any node; FINISHED also if it does not exist any more.

    `is_start_owned`: this node has to publish its recording.started, unless it has.
    """

    recording: RecordingState
    is_start_owned: bool = False


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node of a cluster. `is_alive` False: it is down or unreachable, and the rest is what it wrote last.

    `connections` counts its clients. The URLs are those at which others reach it, "" if not configured.
    """

    node_name: str
    is_alive: bool
    version: str = ""
    signaling_url: str = ""
    api_url: str = ""
    connections: int = 0
    since_wall_ns: int = 0
