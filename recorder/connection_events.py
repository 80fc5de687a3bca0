"""The events connection.created and connection.destroyed.

The fields are those of Sora's types (sora-server-sdk-ts types/webhook/event_webhook.d.ts, 2023.2), without those of
TURN and of ICE states, which do not exist here. `role` is also part of the webhook's envelope.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rokuga.recorder.archive.metadata import Json, tracks_document
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.connection import Connection
from rokuga.recorder.events import Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import PreviousRun

_DETAIL_FIELDS: Final[Mapping[str, str]] = {
    "DISCONNECTED-API": "disconnect_api_reason",
    "TYPE-DISCONNECT": "type_disconnect_reason",
}
"""The field of the caller's own words, by the reason of the end."""

CRASH: Final = "CRASH"
"""The reason of connections that were open when the process was killed."""


def created_event(connection: Connection, present: Iterable[Connection], now_ns: int) -> Event:
    """Return the event of a connection that is up; `present` are all connections of its channel, with itself."""
    wall_ns = connection.wall_at(now_ns)
    return _event(EventType.CONNECTION_CREATED, connection, wall_ns, _document(connection, present, wall_ns))


def destroyed_event(connection: Connection, present: Iterable[Connection], now_ns: int) -> Event:
    """Return the event of a connection that has ended; `present` are the remaining ones of its channel."""
    wall_ns = connection.wall_at(now_ns)
    end = _end(connection.close_reason, connection.close_detail)
    document = _document(connection, present, wall_ns) | _destroyed(wall_ns) | end
    return _event(EventType.CONNECTION_DESTROYED, connection, wall_ns, document)


def lost_events(previous_run: PreviousRun, now_wall_ns: int) -> Sequence[Event]:
    """Return connection.destroyed for every connection that the previous run left open, as of its last write.

    `total_received_bytes` is that of connection.created, the last value that was stored.
    """
    return [
        _lost_event(created, previous_run.created[place + 1 :], min(previous_run.last_seen_wall_ns, now_wall_ns))
        for place, created in enumerate(previous_run.created)
    ]


def _lost_event(created: Event, later: Sequence[Event], last_seen_wall_ns: int) -> Event:
    """Return the event of one connection; those of its channel among `later` are still counted as present."""
    wall_ns = max(last_seen_wall_ns, created.wall_ns)
    roles = [str(other.document["role"]) for other in later if other.channel_id == created.channel_id]
    created_time: int = created.document["created_time"]
    document = {
        **created.document,
        "minutes": max(wall_ns // NS_PER_S - created_time, 0) // 60,
        **_counts(roles),
        **_destroyed(wall_ns),
        **_end(CRASH, None),
    }
    connection_id = created.connection.connection_id if created.connection else ""
    return replace(
        created,
        id=event_id(EventType.CONNECTION_DESTROYED, connection_id),
        type=EventType.CONNECTION_DESTROYED,
        wall_ns=wall_ns,
        document=document,
    )


def _destroyed(wall_ns: int) -> Json:
    return {"destroyed_time": wall_ns // NS_PER_S, "destroyed_timestamp": rfc3339(wall_ns)}


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
    """Return the fields of the reason. As with Sora, the reason of an API caller replaces the general one, too."""
    if remark is None or reason not in _DETAIL_FIELDS:
        return {"reason": reason}
    return {"reason": remark if reason == "DISCONNECTED-API" else reason, _DETAIL_FIELDS[reason]: remark}


def _document(connection: Connection, present: Iterable[Connection], wall_ns: int) -> Json:
    return {
        "role": connection.role,
        "minutes": (wall_ns - connection.created_wall_ns) // (60 * NS_PER_S),
        **tracks_document(connection.audio, connection.video),
        **_counts([other.role for other in present]),
        "created_time": connection.created_wall_ns // NS_PER_S,
        "created_timestamp": rfc3339(connection.created_wall_ns),
        "total_received_bytes": connection.received_bytes(),
        "total_sent_bytes": 0,
    }


def _counts(roles: Sequence[str]) -> Json:
    by_role = {f"channel_{role}_connections": roles.count(role) for role in ("sendrecv", "sendonly", "recvonly")}
    return {"channel_connections": len(roles), **by_role}
