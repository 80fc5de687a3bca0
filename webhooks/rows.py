"""Deliveries as rows of the table `deliveries`."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from rokuga.recorder.events import Event
from rokuga.webhooks.delivery import Delivery, DeliveryState, DestinationKey
from rokuga.webhooks.order import Subject

_NAMES: Final = [field.name for field in fields(Delivery)]
_STATE: Final = _NAMES.index("state")
_FLAGS: Final = [_NAMES.index(name) for name in ("is_away", "is_ours")]

COLUMNS: Final = ", ".join(_NAMES)
"""The columns of a delivery: its fields, in order."""


class NewRow(NamedTuple):
    """The columns of a new delivery."""

    consumer: str
    destination: str
    event_id: str
    type: str
    channel_id: str
    session_id: str
    connection_id: str
    recording_id: str
    body: bytes
    created_wall_ns: int
    created_uptime_ns: int
    state: str


INSERT: Final = (
    f"INSERT OR IGNORE INTO deliveries ({', '.join(NewRow._fields)}) VALUES ({', '.join('?' * len(NewRow._fields))})"
)


class Position(NamedTuple):
    """A delivery as far as order is concerned."""

    seq: int
    destination: DestinationKey
    subject: Subject


POSITION_COLUMNS: Final = "seq, consumer, destination, channel_id, connection_id, recording_id"


def new_row(
    event: Event, destination: DestinationKey, body: bytes, wall_ns: int, uptime_ns: int, state: DeliveryState
) -> NewRow:
    """Return the row of a delivery that is made now."""
    subject = subject_of(event)
    session_id = event.connection.session_id if event.connection else ""
    ids = event.channel_id, session_id, subject.connection_id, subject.recording_id
    return NewRow(*destination, event.id, event.type, *ids, body, wall_ns, uptime_ns, state)


def subject_of(event: Event) -> Subject:
    """Return what an event is about."""
    connection_id = event.connection.connection_id if event.connection else ""
    return Subject(event.channel_id, connection_id, str(event.document.get("recording_id", "")))


def read_delivery(row: Sequence[Any]) -> Delivery:
    """Read a row of COLUMNS."""
    values = list(row)
    values[_STATE] = DeliveryState(values[_STATE])
    for flag in _FLAGS:
        values[flag] = bool(values[flag])
    return Delivery(*values)


def read_position(row: Sequence[Any]) -> Position:
    """Read a row of POSITION_COLUMNS."""
    seq, consumer, destination, *subject = row
    return Position(seq, DestinationKey(consumer, destination), Subject(*subject))
