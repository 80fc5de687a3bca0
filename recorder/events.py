"""What the recorder tells the house.

An event carries its document: the very object that lies in the JSON file beside the media, so that file and
webhook cannot differ and recovery can say an event again from the disk alone. Ids are derived, not drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rokuga.recorder.identifiers import derived_id
from rokuga.recorder.negotiation import ConnectionIdentity

Document = Mapping[str, Any]
"""A JSON object as the documentation of Sora's webhooks shows it."""


class EventType(StrEnum):
    """Every event, by the name that Sora gives it."""

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
"""What any node of a cluster could tell, and one does; all other events are those of one node's connections."""


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
    """Give the id of the event of this type about these ids (recording, connection, split index)."""
    return derived_id(event_type, *about)
