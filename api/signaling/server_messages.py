"""The messages that a server sends in Sora's signalling: offer, redirect, ping, notify, and close reasons."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig


def offer(
    *,
    identity: ConnectionIdentity,
    sdp: str,
    mids: Mapping[Kind, str],
    audio: TrackConfig | None,
    video: TrackConfig | None,
    version: str,
    metadata: Any = None,
) -> str:
    """Return the offer. It turns off simulcast, spotlight and DataChannels.

    The C++ SDK terminates its process without `connection_id` and `config.iceServers`; other SDKs need other fields.
    """
    message: dict[str, Any] = {
        "type": "offer",
        "sdp": sdp,
        "version": version,
        "config": {"iceServers": [], "iceTransportPolicy": "all"},
        "multistream": True,
        "simulcast": False,
        "simulcast_multicodec": False,
        "spotlight": False,
        "data_channel_signaling": False,
        "ignore_disconnect_websocket": False,
        "mid": dict(mids),
        **_ids(identity),
        "channel_id": identity.channel_id,
    }
    if metadata is not None:
        message["metadata"] = metadata
    tracks: Mapping[Kind, TrackConfig | None] = {"audio": audio, "video": video}
    for kind, track in tracks.items():
        message[kind] = track is not None
        if track is not None:
            message[f"{kind}_codec_type"] = track.codec_type
            if track.bit_rate_kbps is not None:
                message[f"{kind}_bit_rate"] = track.bit_rate_kbps
    return _encode(message)


def redirect(location: str) -> str:
    """Return the message that redirects a client to another node's signalling URL."""
    return _encode({"type": "redirect", "location": location})


def ping() -> str:
    """Return a ping. It requests no statistics: they have 20 kB, and we measure the same ourselves."""
    return _encode({"type": "ping", "stats": False})


class MemberInfo(msgspec.Struct, frozen=True):
    """One member of a channel, as notifications describe it."""

    identity: ConnectionIdentity
    role: Literal["sendonly", "sendrecv", "recvonly"]
    audio: bool
    video: bool
    metadata: Any = None


def notify(
    event_type: Literal["connection.created", "connection.destroyed"],
    member: MemberInfo,
    *,
    timestamp: str,
    minutes: int,
    counts: Mapping[str, int],
    others: Sequence[MemberInfo] | None = None,
) -> str:
    """Return a notification. `counts`: members by role; `others`: the other members, for connection.created only."""
    message: dict[str, Any] = {
        "type": "notify",
        "event_type": event_type,
        "timestamp": timestamp,
        "role": member.role,
        **_ids(member.identity),
        "audio": member.audio,
        "video": member.video,
        "minutes": minutes,
        "turn_transport_type": "udp",
        **channel_counts(counts),
    }
    if member.metadata is not None:
        message["metadata"] = member.metadata
    if others is not None:
        message["data"] = [_other(other) for other in others]
    return _encode(message)


def channel_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the fields with the number of a channel's members, in total and by role."""
    by_role = {f"channel_{role}_connections": counts.get(role, 0) for role in ("sendrecv", "sendonly", "recvonly")}
    return {"channel_connections": sum(counts.values()), **by_role}


def _other(other: MemberInfo) -> dict[str, Any]:
    ids = _ids(other.identity)
    del ids["session_id"]
    return ids if other.metadata is None else {**ids, "metadata": other.metadata}


def _ids(identity: ConnectionIdentity) -> dict[str, str]:
    return {
        "session_id": identity.session_id,
        "client_id": identity.client_id,
        "bundle_id": identity.bundle_id,
        "connection_id": identity.connection_id,
    }


def _encode(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()


def close_reason(text: str) -> str:
    """Cut a reason to the 123 bytes of UTF-8 of a close frame (RFC 6455 section 5.5), at a character boundary."""
    return text.encode("utf-8", "replace")[:123].decode(errors="ignore")
