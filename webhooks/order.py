"""The order in which events are delivered. Pure; `heads.py` says the same in SQL.

1. Events of one connection are delivered one after the other, as they happened: `connection.created` first, then what
   becomes of its archives, in every recording that it is in.
2. `recording.started` is delivered before the events of its recording.
3. `recording.report` is delivered after all events of its recording.

Nothing else is ordered: connections do not wait for each other, nor do recordings, those of one channel included.
An event waits for another one until that is delivered, parked, dead, dropped, or found not to be sent.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Owner event one is. Ids are empty where it is of no connection, or of no recording."""

    channel_id: str
    connection_id: str
    recording_id: str


def follows(later: Place, earlier: Place) -> bool:
    """Whether an event waits for one that happened before it.

    An event of a recording and of no connection is of the whole recording: its start or its report.
    """
    is_same_connection = (later.channel_id, later.connection_id) == (earlier.channel_id, earlier.connection_id)
    if later.connection_id and is_same_connection:
        return True
    is_same_recording = later.recording_id == earlier.recording_id
    is_of_whole = not (later.connection_id and earlier.connection_id)
    return bool(later.recording_id) and is_same_recording and is_of_whole
