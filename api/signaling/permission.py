"""Permission to connect: the request to the authentication webhook, and the changes that its answer makes (pure).

Fields as in sora-server-sdk-ts types/webhook/auth_webhook.d.ts (2023.2), what an answer may change as in
https://sora-doc.shiguredo.jp/AUTH_WEBHOOK_RETURN. Fields of simulcast, spotlight, DataChannels and TURN are
ignored in an answer: Rokuga has none of these.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from rokuga.api.signaling.client_messages import (
    ConnectMessage,
    MessageError,
    Name,
    check_ids,
    requested_tracks,
)
from rokuga.api.signaling.server_messages import channel_counts
from rokuga.api.signaling.track_request import TrackRequest
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import TrackConfig

NO_REASON: Final = "AUTH-WEBHOOK-DENIED"
"""The close reason of a client that was denied without a reason."""


_NAME_AND_VERSION: Final = re.compile(r"(\S.*?) (\d\S*)")


class Denied(ValueError):
    """The webhook denied the client; the text is its reason, which the client receives."""


class AuthWebhookFields(msgspec.Struct, frozen=True):
    """The fields of an answer."""

    allowed: bool
    reason: str | None = None
    client_id: Name | None = None
    bundle_id: Name | None = None
    audio: bool | TrackRequest | None = None
    audio_codec_type: str | None = None
    audio_bit_rate: int | None = None
    video: bool | TrackRequest | None = None
    video_codec_type: str | None = None
    video_bit_rate: int | None = None
    signaling_notify_metadata: Any = None
    metadata: Any = None
    event_metadata: Any = msgspec.UNSET


_FIELDS_WITH_PARAMS: Final = cast(
    type[AuthWebhookFields],
    msgspec.defstruct(
        "AuthWebhookFields",
        [(f"{row.kind}_{row.params_key}", Any, None) for row in CODECS.values()],
        bases=(AuthWebhookFields,),
        frozen=True,
    ),
)
"""With the flat parameters of each row of the codec table, such as `video_vp9_params`."""


class Granted(NamedTuple):
    """The permission of a client: `connect` as the answer has changed it.

    `metadata` is sent to the client in the offer; `event_metadata_json` is stored in its events, None for nothing.
    """

    connect: ConnectMessage
    metadata: Any = None
    event_metadata_json: str | None = None


def auth_webhook_request(connect: ConnectMessage, connection_id: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the body of the request; `counts` are the members of the channel by role. Raises MessageError."""
    audio, video = requested_tracks(connect)
    optional = {
        "client_id": connect.client_id,
        "bundle_id": connect.bundle_id,
        "metadata": connect.metadata,
        "sora_client": _client(connect),
    }
    return {
        "role": connect.role,
        "channel_id": connect.channel_id,
        "connection_id": connection_id,
        **{name: value for name, value in optional.items() if value is not None},
        "multistream": True,
        "simulcast": False,
        "spotlight": False,
        **_track_fields("audio", audio),
        **_track_fields("video", video),
        "data_channel_signaling": False,
        "ignore_disconnect_websocket": False,
        **channel_counts(counts),
        "e2ee": False,
    }


def _track_fields(kind: Kind, track: TrackConfig | None) -> dict[str, Any]:
    """Return a track both as an object and as flat fields: consumers of both forms exist."""
    if track is None:
        return {kind: False}
    nested: dict[str, Any] = {"codec_type": track.codec_type}
    if track.bit_rate_kbps is not None:
        nested["bit_rate"] = track.bit_rate_kbps
    flat = {f"{kind}_{name}": value for name, value in nested.items()}
    if track.params:
        flat[f"{kind}_{CODECS[track.codec_type].params_key}"] = track.params
    return {kind: nested, **flat}


def _client(connect: ConnectMessage) -> dict[str, Any] | None:
    """Return the SDK's fields. `sora_client` is its name and, for Sora's SDKs, its version."""
    if not isinstance(connect.sora_client, str):
        return None
    match = _NAME_AND_VERSION.match(connect.sora_client)
    fields = {
        "raw": connect.sora_client,
        "type": match and match[1],
        "version": match and match[2],
        "environment": connect.environment,
        "libwebrtc": connect.libwebrtc,
    }
    return {name: value for name, value in fields.items() if isinstance(value, str) and value}


def apply_answer(connect: ConnectMessage, answer: Mapping[str, Any]) -> Granted:
    """Return the permission that an answer grants. Raises Denied, and MessageError for an invalid answer."""
    try:
        fields = msgspec.convert(answer, _FIELDS_WITH_PARAMS)
    except msgspec.ValidationError as error:
        raise MessageError(str(error)) from error
    if not fields.allowed:
        raise Denied(fields.reason or NO_REASON)
    changes: dict[str, Any] = {
        "audio": _changed("audio", connect.audio, fields),
        "video": _changed("video", connect.video, fields),
    }
    for name in ("client_id", "bundle_id", "signaling_notify_metadata"):
        if (value := getattr(fields, name)) is not None:
            changes[name] = value
    allowed = msgspec.structs.replace(connect, **changes)
    check_ids(allowed)
    requested_tracks(allowed)
    event_metadata = (
        None if fields.event_metadata is msgspec.UNSET else msgspec.json.encode(fields.event_metadata).decode()
    )
    return Granted(allowed, fields.metadata, event_metadata)


def _changed(
    kind: Kind, requested: bool | TrackRequest | None, fields: AuthWebhookFields
) -> bool | TrackRequest | None:
    """Merge the answer's fields of a kind into the client's request. A plain `true` keeps the client's details."""
    decision = getattr(fields, kind)
    if decision is False or (decision is None and requested is False):
        return False
    layers = [_given_fields(layer) for layer in (requested, decision) if isinstance(layer, TrackRequest)]
    flat = {name: getattr(fields, f"{kind}_{name}", None) for name in TrackRequest.__struct_fields__}
    merged: dict[str, Any] = {}
    for layer in (*layers, {name: value for name, value in flat.items() if value is not None}):
        merged |= layer
    return TrackRequest(**merged) if merged else True


def _given_fields(request: TrackRequest) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
