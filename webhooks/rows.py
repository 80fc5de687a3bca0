"""Entries as rows of the delivery table."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from rokuga.recorder.events import Event
from rokuga.webhooks.entry import Entry, EntryState
from rokuga.webhooks.order import Place

_NAMES: Final = [field.name for field in fields(Entry)]
_STATE: Final = _NAMES.index("state")
_FLAGS: Final = [_NAMES.index(name) for name in ("is_away", "is_ours")]

COLUMNS: Final = ", ".join(_NAMES)
"""The columns of an entry: its fields, in order."""

Row = tuple[str, str, str, str, str, str, bytes, int, int, str]
"""The columns of a new entry: ids, type and names, body, times, state."""

INSERT: Final = """
INSERT OR IGNORE INTO outbox (event_id, type, channel_id, session_id, connection_id, recording_id, body,
  created_wall_ns, created_uptime_ns, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def new_row(event: Event, body: bytes, wall_ns: int, uptime_ns: int, state: EntryState) -> Row:
    """Give the row of an event that is taken over now."""
    place = place_of(event)
    session_id = event.connection.session_id if event.connection else ""
    names = event.id, event.type, event.channel_id, session_id, place.connection_id, place.recording_id
    return *names, body, wall_ns, uptime_ns, state


def place_of(event: Event) -> Place:
    """Give whose event it is."""
    connection_id = event.connection.connection_id if event.connection else ""
    return Place(event.channel_id, connection_id, str(event.document.get("recording_id", "")))


def read_entry(row: Sequence[Any]) -> Entry:
    """Read a row of COLUMNS."""
    values = list(row)
    values[_STATE] = EntryState(values[_STATE])
    for flag in _FLAGS:
        values[flag] = bool(values[flag])
    return Entry(*values)
