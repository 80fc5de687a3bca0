"""Leave to connect: what the authentication webhook is told of a client, and what its answer makes of it.

Fields as in sora-server-sdk-ts types/webhook/auth_webhook.d.ts (2023.2), what an answer may change as in
https://sora-doc.shiguredo.jp/AUTH_WEBHOOK_RETURN. Fields of simulcast, spotlight, DataChannels and TURN are
overlooked in an answer: there are none here.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from rokuga.api.signaling.client_messages import (
    Connect,
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
"""What a client is told that was refused without a reason."""


_NAME_AND_VERSION: Final = re.compile(r"(\S.*?) (\d\S*)")


class Denied(ValueError):
    """The webhook refused the client; the text is its reason, for the client."""


class Answer(msgspec.Struct, frozen=True):
    """What an answer can say."""

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


_ANSWER_WITH_PARAMS: Final = cast(
    type[Answer],
    msgspec.defstruct(
        "Answer",
        [(f"{row.kind}_{row.params_key}", Any, None) for row in CODECS.values()],
        bases=(Answer,),
        frozen=True,
    ),
)
"""With the flat parameters of each row of the codec table, such as `video_vp9_params`."""


class Granted(NamedTuple):
    """A client that may come in: what it asks for as it is allowed, and what is told to whom.

    `metadata` goes to the client, in the offer; `event_metadata_json` into the events about it, None for nothing.
    """

    connect: Connect
    metadata: Any = None
    event_metadata_json: str | None = None


def question(connect: Connect, connection_id: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Tell of a client; `counts` are those by role who are in its channel already. Raises MessageError."""
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
        **_told("audio", audio),
        **_told("video", video),
        "data_channel_signaling": False,
        "ignore_disconnect_websocket": False,
        **channel_counts(counts),
        "e2ee": False,
    }


def _told(kind: Kind, track: TrackConfig | None) -> dict[str, Any]:
    """Describe a kind as an object, and flat as well: consumers of both are about."""
    if track is None:
        return {kind: False}
    short: dict[str, Any] = {"codec_type": track.codec_type}
    if track.bit_rate_kbps is not None:
        short["bit_rate"] = track.bit_rate_kbps
    flat = {f"{kind}_{name}": value for name, value in short.items()}
    if track.params:
        flat[f"{kind}_{CODECS[track.codec_type].params_key}"] = track.params
    return {kind: short, **flat}


def _client(connect: Connect) -> dict[str, Any] | None:
    """Describe the SDK, whose `sora_client` is its name and, with Sora's own, its version."""
    if not isinstance(connect.sora_client, str):
        return None
    match = _NAME_AND_VERSION.match(connect.sora_client)
    told = {
        "raw": connect.sora_client,
        "type": match and match[1],
        "version": match and match[2],
        "environment": connect.environment,
        "libwebrtc": connect.libwebrtc,
    }
    return {name: value for name, value in told.items() if isinstance(value, str) and value}


def granted(connect: Connect, answer: Mapping[str, Any]) -> Granted:
    """Give what is allowed. Raises Denied, and MessageError for nonsense."""
    try:
        said = msgspec.convert(answer, _ANSWER_WITH_PARAMS)
    except msgspec.ValidationError as error:
        raise MessageError(str(error)) from error
    if not said.allowed:
        raise Denied(said.reason or NO_REASON)
    changes: dict[str, Any] = {
        "audio": _changed("audio", connect.audio, said),
        "video": _changed("video", connect.video, said),
    }
    for name in ("client_id", "bundle_id", "signaling_notify_metadata"):
        if (value := getattr(said, name)) is not None:
            changes[name] = value
    allowed = msgspec.structs.replace(connect, **changes)
    check_ids(allowed)
    requested_tracks(allowed)
    told = None if said.event_metadata is msgspec.UNSET else msgspec.json.encode(said.event_metadata).decode()
    return Granted(allowed, said.metadata, told)


def _changed(kind: Kind, asked: bool | TrackRequest | None, said: Answer) -> bool | TrackRequest | None:
    """Lay what was said of a kind over what the client asked for: a plain true leaves the client its details."""
    verdict = getattr(said, kind)
    if verdict is False or (verdict is None and asked is False):
        return False
    layers = [_given(layer) for layer in (asked, verdict) if isinstance(layer, TrackRequest)]
    flat = {name: getattr(said, f"{kind}_{name}", None) for name in TrackRequest.__struct_fields__}
    together: dict[str, Any] = {}
    for layer in (*layers, {name: value for name, value in flat.items() if value is not None}):
        together |= layer
    return TrackRequest(**together) if together else True


def _given(request: TrackRequest) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
