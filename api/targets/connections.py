"""Targets that list connections, disconnect them, and request key frames.

The names of the *-NOT-FOUND errors are ours: Sora does not document its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from rokuga.api.protocols import PublisherConnection, RecordingService
from rokuga.api.targets.errors import TargetError
from rokuga.api.targets.json_schema import COUNT, FLAG, IDS, TEXT, TRACKS, object_of
from rokuga.api.targets.recordings import Request, track_object
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

DISCONNECTED_API = "DISCONNECTED-API"
"""The close reason in signalling (1000). The caller's `reason` is logged, and part of connection.destroyed."""

CONNECTION: Final = object_of(
    {
        **IDS,
        **TRACKS,
        **dict.fromkeys(("multistream", "simulcast", "spotlight"), FLAG),
        "session_id": TEXT,
        "role": {"enum": ["sendrecv", "sendonly", "recvonly"]},
        "created_time": COUNT,
    }
)


async def list_all(recorder: RecordingService, _request: Request) -> list[Request]:
    """ListConnections: all connections."""
    return _shown(recorder.connections())


async def list_channel(recorder: RecordingService, request: Request) -> list[Request]:
    """ListChannelConnections: the connections of the channel, possibly none."""
    return _shown(recorder.connections(request["channel_id"]))


async def disconnect_channel(recorder: RecordingService, request: Request) -> Request:
    """DisconnectChannel: every connection of the channel."""
    _disconnect(recorder.connections(request["channel_id"]), "CHANNEL-NOT-FOUND", request)
    return {"channel_id": request["channel_id"]}


async def disconnect_client(recorder: RecordingService, request: Request) -> Request:
    """DisconnectClient: every connection of the client."""
    _disconnect(_having("client_id", recorder, request), "CLIENT-NOT-FOUND", request)
    return {"channel_id": request["channel_id"], "client_id": request["client_id"]}


async def disconnect_connection(recorder: RecordingService, request: Request) -> Request:
    """DisconnectConnection."""
    _disconnect(_having("connection_id", recorder, request), "CONNECTION-NOT-FOUND", request)
    return {"channel_id": request["channel_id"], "connection_id": request["connection_id"]}


async def request_keyframe(recorder: RecordingService, request: Request) -> Request:
    """RequestKeyFrame: send a PLI to the connection."""
    connections = _having("connection_id", recorder, request)
    if not connections:
        raise TargetError("CONNECTION-NOT-FOUND")
    for connection in connections:
        connection.request_keyframe()
    return {"channel_id": request["channel_id"], "connection_id": request["connection_id"]}


def _having(name: str, recorder: RecordingService, request: Request) -> Sequence[PublisherConnection]:
    return [
        connection
        for connection in recorder.connections(request["channel_id"])
        if getattr(connection.identity, name) == request[name]
    ]


def _disconnect(connections: Sequence[PublisherConnection], not_found: str, request: Mapping[str, Any]) -> None:
    """End connections. Their files are finished later. Raises TargetError `not_found` if there are none."""
    if not connections:
        raise TargetError(not_found)
    detail = _detail(request.get("reason"))
    for connection in connections:
        identity = connection.identity
        log.info(
            "client disconnected by API",
            channel_id=identity.channel_id,
            connection_id=identity.connection_id,
            reason=detail,
        )
        connection.stop(DISCONNECTED_API, detail)


def _detail(reason: Any) -> str | None:
    """Return a `reason` as text, which it is in Sora's webhooks; other JSON is encoded."""
    return reason if reason is None or isinstance(reason, str) else msgspec.json.encode(reason).decode()


def _shown(connections: Iterable[PublisherConnection]) -> list[Request]:
    return [
        {
            "channel_id": connection.identity.channel_id,
            "session_id": connection.identity.session_id,
            "client_id": connection.identity.client_id,
            "bundle_id": connection.identity.bundle_id,
            "connection_id": connection.identity.connection_id,
            "role": connection.role,
            "audio": track_object(connection.audio),
            "video": track_object(connection.video),
            "multistream": True,
            "simulcast": False,
            "spotlight": False,
            "created_time": connection.created_wall_ns // NS_PER_S,
        }
        for connection in connections
        if connection.connected.is_set()
    ]
