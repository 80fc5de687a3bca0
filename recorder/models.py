"""What must outlive the process: a recording and its archives, as plain values.

The store keeps them, the service lives by them, recovery starts from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rokuga.recorder.events import Document
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig

WHOLE_FILE: Final = ""
"""The index of the file that is no part."""


REPORT_FIELDS: Final = ("file_path", "filename", "metadata_file_path", "metadata_filename", "size")
"""What the report tells of an archive's document."""


class RecordingStatus(StrEnum):
    """ACTIVE takes new archives; STOPPING waits for its last archive; FINISHED has its report."""

    ACTIVE = "active"
    STOPPING = "stopping"
    FINISHED = "finished"


class ArchiveStatus(StrEnum):
    """WRITING until the files are whole (AVAILABLE) or known to be lost (FAILED)."""

    WRITING = "writing"
    AVAILABLE = "available"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RecordingParameters:
    """What StartRecording was given. Seconds; `None` where a key was not given.

    `metadata_json` is JSON text, so that a given `null` ("null") differs from none at all (None).
    """

    channel_id: str
    expire_time: int
    split_duration: int | None = None
    split_only: bool | None = None
    metadata_json: str | None = None

    def has_whole_files(self, dual_output: bool) -> bool:
        """Whether archives are written whole; with `dual_output` also beside the parts of a split one."""
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
        """Unix seconds, None where the recording has no limit."""
        return self.created_at + self.parameters.expire_time if self.parameters.expire_time else None


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """One connection's archive in one recording.

    While it is written, `stop_wall_ns` is the end of the parts that were told, None before the first one.
    `document` is that of the whole-file archive once it ended (absent for split-only recordings);
    `split_last_index` is "0001"-like, None where nothing was split; `split_kinds` is what the parts have. `owed` has
    the documents of finished files whose event is not stored yet, by the index of the part or WHOLE_FILE: a consumer
    that sees a document beside its file may remove both before the event is stored. `node_name` is the node that has
    the files, "" for this one.

    A connection has more than one archive in a recording where a fault ended one before the connection left:
    `number` counts them from 1. Parts go on through all of them: `parts_before` is the last number that earlier
    archives used, `parts_start_wall_ns` their beginning, `split_last_index` and `split_kinds` those of all.
    `owes_parts_end`: it has ended, and split-archive.end is to be told by a later one, or when the connection leaves.
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
    """A recording that began or ended, maybe on another node: FINISHED where nothing is known of it any more.

    `is_start_owned`: its recording.started is ours to tell, if we have not yet.
    """

    recording: RecordingState
    is_start_owned: bool = False


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node of a cluster. `is_alive` False: it was there, and is down or cut off; the rest is what it said last.

    `connections` counts its clients. The URLs are those at which others find it, "" where it does not say.
    """

    node_name: str
    is_alive: bool
    version: str = ""
    signaling_url: str = ""
    api_url: str = ""
    connections: int = 0
    since_wall_ns: int = 0
