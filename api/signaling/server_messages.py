"""What we say in Sora's signalling, with all that any SDK needs: offer, redirect, ping, notify, and why we close."""

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
    """Write the offer. Simulcast, spotlight and DataChannels are refused by what it says, or leaves out.

    Without `connection_id` and `config.iceServers` the C++ SDK ends its process; the others need this and that.
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
        **_names(identity),
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
    return _write(message)


def redirect(location: str) -> str:
    """Write that the client is to connect to another node, by its signalling URL."""
    return _write({"type": "redirect", "location": location})


def ping() -> str:
    """Write a ping. Statistics are not asked for: they are 20 kB of what we see better ourselves."""
    return _write({"type": "ping", "stats": False})


class Present(msgspec.Struct, frozen=True):
    """One member of a channel as notifications tell of it."""

    identity: ConnectionIdentity
    role: Literal["sendonly", "sendrecv", "recvonly"]
    audio: bool
    video: bool
    metadata: Any = None


def notify(
    event_type: Literal["connection.created", "connection.destroyed"],
    about: Present,
    *,
    timestamp: str,
    minutes: int,
    counts: Mapping[str, int],
    others: Sequence[Present] | None = None,
) -> str:
    """Write a notification. `counts`: members by role; `others`: who else is there, told with created only."""
    message: dict[str, Any] = {
        "type": "notify",
        "event_type": event_type,
        "timestamp": timestamp,
        "role": about.role,
        **_names(about.identity),
        "audio": about.audio,
        "video": about.video,
        "minutes": minutes,
        "turn_transport_type": "udp",
        **channel_counts(counts),
    }
    if about.metadata is not None:
        message["metadata"] = about.metadata
    if others is not None:
        message["data"] = [_other(other) for other in others]
    return _write(message)


def channel_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Give the fields that tell how many are in a channel, in all and by role."""
    by_role = {f"channel_{role}_connections": counts.get(role, 0) for role in ("sendrecv", "sendonly", "recvonly")}
    return {"channel_connections": sum(counts.values()), **by_role}


def _other(other: Present) -> dict[str, Any]:
    names = _names(other.identity)
    del names["session_id"]
    return names if other.metadata is None else {**names, "metadata": other.metadata}


def _names(identity: ConnectionIdentity) -> dict[str, str]:
    return {
        "session_id": identity.session_id,
        "client_id": identity.client_id,
        "bundle_id": identity.bundle_id,
        "connection_id": identity.connection_id,
    }


def _write(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()


def close_reason(text: str) -> str:
    """Fit a reason into a close frame: 123 bytes of UTF-8 (RFC 6455 section 5.5), no character cut."""
    return text.encode("utf-8", "replace")[:123].decode(errors="ignore")
