"""The order in which the events of one destination are delivered. Pure; `blocking.py` states the same in SQL.

1. Events of one connection are delivered one after the other, as they happened: `connection.created` first, then
   those of its archives, in every recording that it is in.
2. `recording.started` is delivered before the other events of its recording.
3. `recording.report` is delivered after all other events of its recording.

Nothing else is ordered: connections do not wait for each other, nor do recordings, even of the same channel. An event
waits for an earlier one while that is pending: until it is delivered, parked, dead, dropped or skipped.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about. An id is empty for an event that is about no connection, or no recording."""

    channel_id: str
    connection_id: str
    recording_id: str


def follows(later: Subject, earlier: Subject) -> bool:
    """Return whether an event waits for one that happened before it.

    An event about a recording and no connection is about the whole recording: its start or its report.
    """
    is_same_connection = (later.channel_id, later.connection_id) == (earlier.channel_id, earlier.connection_id)
    if later.connection_id and is_same_connection:
        return True
    is_same_recording = later.recording_id == earlier.recording_id
    is_about_whole = not (later.connection_id and earlier.connection_id)
    return bool(later.recording_id) and is_same_recording and is_about_whole
