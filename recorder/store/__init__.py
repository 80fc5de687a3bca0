"""What must outlive the process, behind one Protocol."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from rokuga.recorder.events import Event
from rokuga.recorder.models import ArchiveState, Change, NodeState, RecordingState

ANSWER_S: Final = 5.0
"""How long a start or a stop may take, which somebody waits for; after that it is refused, and has no effect."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in the log; `cursor` only grows and is never used twice."""

    cursor: int
    event: Event


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """What the last process left: the connection.created of each connection that it did not tell as gone.

    `created` are in their order; `seen_wall_ns` is when the store was last written, which a process that lives does
    every second or more often.
    """

    created: Sequence[Event]
    seen_wall_ns: int


class StoreError(Exception):
    """The store could not do what was asked (disk full, file damaged); nothing was changed."""


class MinorityError(StoreError):
    """This node sees no majority of its cluster: it can neither change what is shared nor say how it stands."""


class TooLargeError(StoreError):
    """A recording is more than all nodes of a cluster can share: `size_bytes`, of at most `max_bytes`."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes are more than a cluster shares of a recording ({max_bytes})")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class Owner(StrEnum):
    """Who may tell an event of a whole recording: this node, another, or nobody any more: another one did."""

    SELF = "ours"
    OTHER = "another's"
    NOBODY = "nobody's"


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the cluster looks from here, for monitoring: seconds and counts of calls to etcd since the start."""

    has_majority: bool
    requests_answered: int
    requests_failed: int
    request_seconds: float
    slowest_request_s: float
    nodes: int


class RecordingStore(Protocol):
    """Keeps recordings, archives and the events that they cause, each change with its events in one transaction.

    Recordings are shared by all nodes of a cluster; archives and events are each node's own. Events are
    insert-or-ignore by id: saying one again changes nothing. Every call is safe to repeat.
    All raise StoreError, or what is one, and nothing else.
    """

    async def read_barrier(self) -> None:
        """Return when `changes` has given all that was decided before this call. Raises MinorityError."""
        ...

    def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Give what other nodes start and stop, without end; our own changes may be among it.

        What was given counts as taken when the next is asked for. What was missed is given as it stands now.
        """
        ...

    async def start_recording(self, recording: RecordingState, events: Sequence[Event]) -> bool:
        """Create an active recording; False (and no event) if its channel has another active one already.

        Raises TooLargeError where it is more than can be kept. What was refused by an exception never starts: who
        tries again draws another id.
        """
        ...

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Move a recording from ACTIVE to STOPPING; False if somebody else did."""
        ...

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Move a concluded recording from STOPPING to FINISHED with its report; False if somebody else did."""
        ...

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Insert or replace the archive (key: recording, connection and number), with the events this causes."""
        ...

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Say that our archives of a STOPPING recording have ended, and wait until those of all nodes have.

        Gives them in the order of their start if it is ours to report them, None if another node does.
        """
        ...

    async def append(self, events: Sequence[Event]) -> None:
        """Add events that belong to no recording: who came, who went.

        A connection is open from its connection.created to its connection.destroyed.
        """
        ...

    async def previous_run(self) -> PreviousRun:
        """Give the connections that are open, as left by the last process."""
        ...

    async def unfinished_recordings(self) -> Sequence[RecordingState]:
        """Give all recordings that are ACTIVE or STOPPING, oldest first."""
        ...

    async def archives(self, recording_id: str) -> Sequence[ArchiveState]:
        """Give the archives of a recording in the order of their start."""
        ...

    async def nodes(self) -> Sequence[NodeState]:
        """Give the nodes of the cluster by their names; none where there is no cluster."""
        ...

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give the next events of the log after `cursor` (0 = from the beginning) that were not forgotten."""
        ...

    async def prune_events(self, cursor: int) -> None:
        """Let go of the events up to `cursor`, for whoever reads the log has them.

        Their ids stay known as long as their recording is not finished, and for some thousand events more; then a
        recording that is finished goes, too, with its archives.
        """
        ...
