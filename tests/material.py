"""Recordings, archives and events for tests to store and to send."""

from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.models import ArchiveState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from tests.support.clock import FakeClock

WALL_NS = 1_709_251_200_000_123_000
"""2024-03-01T00:00:00.000123Z."""


class ManualClock(FakeClock):
    """A FakeClock whose two times are WALL_NS at first."""

    def __init__(self, now_ns: int = WALL_NS, wall_offset_ns: int = 0) -> None:
        super().__init__(now_ns, wall_offset_ns)


def identity(channel_id: str = "sora", connection_id: str = "CONNECTION") -> ConnectionIdentity:
    """Return the ids of a connection."""
    return ConnectionIdentity(channel_id, "SESSION", "CLIENT", "BUNDLE", connection_id)


def recording(
    recording_id: str = "RECORDING", channel_id: str = "sora", start_wall_ns: int = WALL_NS
) -> RecordingState:
    """Return an active recording whose metadata is a JSON null."""
    return RecordingState(recording_id, RecordingParameters(channel_id, 3600, 60, False, "null"), start_wall_ns)


def archive(
    recording_id: str = "RECORDING", connection_id: str = "CONNECTION", start_wall_ns: int = WALL_NS
) -> ArchiveState:
    """Return an archive that is being written."""
    video = TrackConfig("VP9", 2500, {"profile_id": 0})
    return ArchiveState(
        recording_id, identity(connection_id=connection_id), TrackConfig("OPUS"), video, start_wall_ns
    )


def event(
    number: int | str = 0,
    channel_id: str = "sora",
    event_type: EventType = EventType.ARCHIVE_AVAILABLE,
    document: Document | None = None,
) -> Event:
    """Return an event; the same number and type have the same id."""
    is_of_recording = event_type.startswith("recording.")
    return Event(
        id=event_id(event_type, channel_id, str(number)),
        type=event_type,
        wall_ns=WALL_NS,
        channel_id=channel_id,
        document={"number": number} if document is None else document,
        connection=None if is_of_recording else identity(channel_id),
    )


def singleton_event(event_type: EventType, recording_id: str = "RECORDING") -> Event:
    """Return the start or the report of a recording, a cluster singleton."""
    return Event(event_id(event_type, recording_id), event_type, WALL_NS, "sora", {"recording_id": recording_id})


STARTED = singleton_event(EventType.RECORDING_STARTED)
REPORT = singleton_event(EventType.RECORDING_REPORT)
