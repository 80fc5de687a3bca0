"""Who comes and goes: the documents of connection.created and connection.destroyed.

Fields as in Sora's own types (sora-server-sdk-ts types/webhook/event_webhook.d.ts, 2023.2); those that tell of TURN
and of ICE states, which there are none of here, are left out. `role` goes into the envelope as well.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from rokuga.recorder.archive.metadata import Json, tracks_document
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.connection import Connection
from rokuga.recorder.events import Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S

_REMARKS: Final[Mapping[str, str]] = {
    "DISCONNECTED-API": "disconnect_api_reason",
    "TYPE-DISCONNECT": "type_disconnect_reason",
}
"""Where the words of who ended a connection go, by the reason of its end."""


def created_event(connection: Connection, present: Iterable[Connection], wall_ns: int) -> Event:
    """Tell that a connection is up; `present` are all of its channel that are, itself among them."""
    return _event(EventType.CONNECTION_CREATED, connection, wall_ns, _document(connection, present, wall_ns))


def destroyed_event(connection: Connection, present: Iterable[Connection], wall_ns: int) -> Event:
    """Tell that a connection is gone, and why; `present` are those that are left."""
    document = _document(connection, present, wall_ns) | {
        "destroyed_time": wall_ns // NS_PER_S,
        "destroyed_timestamp": rfc3339(wall_ns),
        **_end(connection.close_reason, connection.close_remark),
    }
    return _event(EventType.CONNECTION_DESTROYED, connection, wall_ns, document)


def _event(event_type: EventType, connection: Connection, wall_ns: int, document: Json) -> Event:
    identity = connection.identity
    return Event(
        id=event_id(event_type, identity.connection_id),
        type=event_type,
        wall_ns=wall_ns,
        channel_id=identity.channel_id,
        document=document,
        connection=identity,
    )


def _end(reason: str, remark: str | None) -> Json:
    """Say why it ended. A reason that the caller of the API gave stands for ours as well, as with Sora."""
    if remark is None or reason not in _REMARKS:
        return {"reason": reason}
    return {"reason": remark if reason == "DISCONNECTED-API" else reason, _REMARKS[reason]: remark}


def _document(connection: Connection, present: Iterable[Connection], wall_ns: int) -> Json:
    roles = [other.role for other in present]
    counts = {f"channel_{role}_connections": roles.count(role) for role in ("sendrecv", "sendonly", "recvonly")}
    return {
        "role": connection.role,
        "minutes": (wall_ns - connection.created_wall_ns) // (60 * NS_PER_S),
        **tracks_document(connection.audio, connection.video),
        "channel_connections": len(roles),
        **counts,
        "created_time": connection.created_wall_ns // NS_PER_S,
        "created_timestamp": rfc3339(connection.created_wall_ns),
        "total_received_bytes": connection.received_bytes(),
        "total_sent_bytes": 0,
    }
