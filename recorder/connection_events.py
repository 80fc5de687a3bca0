"""Who comes and goes: the documents of connection.created and connection.destroyed.

Fields as in Sora's own types (sora-server-sdk-ts types/webhook/event_webhook.d.ts, 2023.2); those that tell of TURN
and of ICE states, which there are none of here, are left out. `role` goes into the envelope as well.
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

_REMARKS: Final[Mapping[str, str]] = {
    "DISCONNECTED-API": "disconnect_api_reason",
    "TYPE-DISCONNECT": "type_disconnect_reason",
}
"""Where the words of who ended a connection go, by the reason of its end."""

CRASH: Final = "CRASH"
"""The reason of those whose process did not live to see their end."""


def created_event(connection: Connection, present: Iterable[Connection], now_ns: int) -> Event:
    """Tell that a connection is up; `present` are all of its channel that are, itself among them."""
    wall_ns = connection.wall_at(now_ns)
    return _event(EventType.CONNECTION_CREATED, connection, wall_ns, _document(connection, present, wall_ns))


def destroyed_event(connection: Connection, present: Iterable[Connection], now_ns: int) -> Event:
    """Tell that a connection is gone, and why; `present` are those that are left."""
    wall_ns = connection.wall_at(now_ns)
    end = _end(connection.close_reason, connection.close_detail)
    document = _document(connection, present, wall_ns) | _destroyed(wall_ns) | end
    return _event(EventType.CONNECTION_DESTROYED, connection, wall_ns, document)


def lost_events(previous_run: PreviousRun, now_wall_ns: int) -> Sequence[Event]:
    """Tell the end of all whom the last process left, one after the other, as of when it was last seen to live.

    `total_received_bytes` is what was known last: that of connection.created.
    """
    return [
        _lost_event(created, previous_run.created[place + 1 :], min(previous_run.last_seen_wall_ns, now_wall_ns))
        for place, created in enumerate(previous_run.created)
    ]


def _lost_event(created: Event, later: Sequence[Event], last_seen_wall_ns: int) -> Event:
    """Tell one end; those of its channel who are told `later` are still there."""
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
    """Say why it ended. A reason that the caller of the API gave stands for ours as well, as with Sora."""
    if remark is None or reason not in _REMARKS:
        return {"reason": reason}
    return {"reason": remark if reason == "DISCONNECTED-API" else reason, _REMARKS[reason]: remark}


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
