"""The Protocol of the store: recordings, archives and the event log, which survive a restart."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from rokuga.recorder.events import Event
from rokuga.recorder.models import ArchiveState, Change, NodeState, RecordingState

REQUEST_TIMEOUT_S: Final = 5.0
"""Timeout of a start or a stop; after it the call is refused and has no effect."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its position in the log; `cursor` only grows and is never used twice."""

    cursor: int
    event: Event


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """What the previous run left: the connection.created of each connection without a connection.destroyed.

    `created` are in their order; `last_seen_wall_ns` is when the store was last written, which a running process does
    at least once a second.
    """

    created: Sequence[Event]
    last_seen_wall_ns: int


class StoreError(Exception):
    """An operation failed (disk full, file damaged) and has changed nothing."""


class MinorityError(StoreError):
    """This node reaches no majority of its cluster: it can neither change nor read what is shared."""


class TooLargeError(StoreError):
    """A recording has `size_bytes`, more than the `max_bytes` that the nodes of a cluster can share."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes are more than a cluster shares of a recording ({max_bytes})")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class Owner(StrEnum):
    """The node that may publish a cluster singleton; NOBODY if another node has published it already."""

    SELF = "self"
    OTHER = "other"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The cluster from this node's view, for monitoring; the requests are those to etcd since the start."""

    has_majority: bool
    requests_answered: int
    requests_failed: int
    request_seconds: float
    slowest_request_s: float
    nodes: int


class RecordingStore(Protocol):
    """Stores recordings, archives and events; a change and the events that it causes are one transaction.

    Recordings are shared by all nodes of a cluster; archives and events belong to one node. Events are inserted or
    ignored by id, and every call may be repeated. Every call may raise StoreError or a subclass, and nothing else.
    """

    async def read_barrier(self) -> None:
        """Wait until `changes` has yielded every change before this call. Raises MinorityError."""
        ...

    def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Yield what other nodes start and stop, without end; changes of this node may be included.

        A batch counts as applied when the next one is requested. Missed changes are yielded as the current state.
        """
        ...

    async def start_recording(self, recording: RecordingState, events: Sequence[Event]) -> bool:
        """Create an active recording; False (and no event) if its channel has another active one already.

        Raises TooLargeError. A recording that was refused by an exception never starts: use another id to try again.
        """
        ...

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Move a recording from ACTIVE to STOPPING; False if another call did."""
        ...

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Move a recording, whose report is claimed, from STOPPING to FINISHED; False if another call did."""
        ...

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Insert or replace the archive (key: recording, connection and number), with the events this causes."""
        ...

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Record that this node's archives of a STOPPING recording have ended, and wait for those of all nodes.

        Returns the archives in the order of their start if this node reports them, None if another node does.
        """
        ...

    async def append(self, events: Sequence[Event]) -> None:
        """Append events that belong to no recording: those of connections.

        A connection is open from its connection.created to its connection.destroyed.
        """
        ...

    async def previous_run(self) -> PreviousRun:
        """Return the connections that the previous run left open."""
        ...

    async def unfinished_recordings(self) -> Sequence[RecordingState]:
        """Return all recordings that are ACTIVE or STOPPING, oldest first."""
        ...

    async def archives(self, recording_id: str) -> Sequence[ArchiveState]:
        """Return the archives of a recording in the order of their start."""
        ...

    async def nodes(self) -> Sequence[NodeState]:
        """Return the nodes of the cluster, sorted by name; none without a cluster."""
        ...

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Return the next events of the log after `cursor` (0: from the beginning) that were not pruned."""
        ...

    async def prune_events(self, cursor: int) -> None:
        """Delete the events up to `cursor`, which the consumers of the log have read.

        Their ids are kept until their recording is finished, and for some thousand events more; then a finished
        recording is deleted, too, with its archives.
        """
        ...
