"""The events that the recorder publishes.

An event has the same document as the JSON file beside the media, so that file and webhook cannot differ and recovery
can publish an event again from the disk alone. Event ids are derived, not random.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rokuga.recorder.identifiers import derived_id
from rokuga.recorder.negotiation import ConnectionIdentity

Document = Mapping[str, Any]
"""A JSON object as in the documentation of Sora's webhooks."""


class EventType(StrEnum):
    """Every event, by its name in Sora."""

    RECORDING_STARTED = "recording.started"
    RECORDING_REPORT = "recording.report"
    ARCHIVE_STARTED = "archive.started"
    ARCHIVE_AVAILABLE = "archive.available"
    ARCHIVE_FAILED = "archive.failed"
    SPLIT_ARCHIVE_AVAILABLE = "split-archive.available"
    SPLIT_ARCHIVE_END = "split-archive.end"
    CONNECTION_CREATED = "connection.created"
    CONNECTION_DESTROYED = "connection.destroyed"


CLUSTER_SINGLETONS: Final = frozenset({EventType.RECORDING_STARTED, EventType.RECORDING_REPORT})
"""Events that any node of a cluster could publish and exactly one does; all others belong to one node."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, once, at `wall_ns`; `connection` is None for events of a whole recording."""

    id: str
    type: EventType
    wall_ns: int
    channel_id: str
    document: Document
    connection: ConnectionIdentity | None = None


def event_id(event_type: EventType, *about: str) -> str:
    """Return the id of an event of this type about these ids (recording, connection, split index)."""
    return derived_id(event_type, *about)
