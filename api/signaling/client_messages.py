"""The messages of a client in Sora's signalling, and the connection that a `connect` requests (pure).

A message is one JSON object in one WebSocket frame, with its `type` (https://sora-doc.shiguredo.jp/SIGNALING).
Optional keys may be null; unknown keys are ignored.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from rokuga.api.http import json_text
from rokuga.api.signaling.track_request import TrackRequest
from rokuga.recorder.codecs.parameters import ParametersError
from rokuga.recorder.codecs.table import CODECS, DEFAULT_CODECS
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import TrackConfig

MAX_ID_BYTES: Final = 255

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Of every message except `connect`. The statistics in a pong have 10 to 40 kB, an answer less."""

MAX_FIELD_BYTES: Final[Mapping[str, int]] = {
    "metadata": 64 * 1024,
    "signaling_notify_metadata": 16 * 1024,
    **dict.fromkeys(("audio", "video", "sora_client", "environment", "libwebrtc", "redirect", "reason"), 4096),
}
"""Limits of fields that are stored or repeated, as JSON. Every notification repeats signaling_notify_metadata."""

_NOT_A_NUMBER = re.compile(r"(?<=[:,\[])\s*-?(?:inf|infinity|nan(?:\(\w*\))?)\s*(?=[,}\]])", re.IGNORECASE)
"""As C's printf writes them; on Windows also as `-nan(ind)`."""


class MessageError(ValueError):
    """The client's message is invalid, or requests what is not supported; the text says which."""


Name = Annotated[str, msgspec.Meta(min_length=1)]


class ConnectMessage(msgspec.Struct, frozen=True, tag="connect"):
    """The first message. Its `sdp`, a sample of what the browser supports, is ignored.

    `redirect` is true where another node redirected the client to this one.
    """

    role: Literal["sendonly", "sendrecv", "recvonly"]
    channel_id: Name
    client_id: Name | None = None
    bundle_id: Name | None = None
    audio: bool | TrackRequest | None = None
    video: bool | TrackRequest | None = None
    metadata: Any = None
    signaling_notify_metadata: Any = None
    sora_client: Any = None
    environment: Any = None
    libwebrtc: Any = None
    redirect: Any = None


class AnswerMessage(msgspec.Struct, frozen=True, tag="answer"):
    """The client's answer to our offer."""

    sdp: str


class CandidateMessage(msgspec.Struct, frozen=True, tag="candidate"):
    """One of the client's candidates. ICE-lite needs none, so its content is ignored."""


class PongMessage(msgspec.Struct, frozen=True, tag="pong"):
    """The answer to our ping."""


class DisconnectMessage(msgspec.Struct, frozen=True, tag="disconnect"):
    """The client disconnects."""

    reason: Any = None


class UnknownMessage(msgspec.Struct, frozen=True):
    """A message of another type (stats, re-answer, ...), which is ignored."""

    type: str


_Field = msgspec.Raw | msgspec.UnsetType


class _Envelope(msgspec.Struct, frozen=True):
    """Any message with its type decoded, and the fields of MAX_FIELD_BYTES as raw JSON."""

    type: str
    metadata: _Field = msgspec.UNSET
    signaling_notify_metadata: _Field = msgspec.UNSET
    audio: _Field = msgspec.UNSET
    video: _Field = msgspec.UNSET
    sora_client: _Field = msgspec.UNSET
    environment: _Field = msgspec.UNSET
    libwebrtc: _Field = msgspec.UNSET
    redirect: _Field = msgspec.UNSET
    reason: _Field = msgspec.UNSET


Message = ConnectMessage | AnswerMessage | CandidateMessage | PongMessage | DisconnectMessage | UnknownMessage

_TYPES: Final[
    Mapping[str, type[ConnectMessage | AnswerMessage | CandidateMessage | PongMessage | DisconnectMessage]]
] = {
    "connect": ConnectMessage,
    "answer": AnswerMessage,
    "candidate": CandidateMessage,
    "pong": PongMessage,
    "disconnect": DisconnectMessage,
}


def parse_message(text: str | bytes) -> Message:
    """Parse one frame. Raises MessageError.

    libwebrtc's statistics in a pong may contain `-inf` and `nan`, which are not JSON: in a pong they are accepted.
    """
    try:
        return _parse(text)
    except MessageError:
        pong = _parse_pong_with_nan(text)
        if pong is None:
            raise
        return pong


def _parse(text: str | bytes) -> Message:
    """Parse JSON. Sizes are checked before fields are decoded; unused fields are never decoded."""
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        _check_sizes(text, envelope)
        kind = _TYPES.get(envelope.type)
        message = UnknownMessage(envelope.type) if kind is None else msgspec.json.decode(text, type=kind)
        if isinstance(message, ConnectMessage):
            json_text.check_depth([message.metadata, message.signaling_notify_metadata])
    except (msgspec.ValidationError, json_text.JsonError) as error:
        raise MessageError(str(error)) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MessageError("the message is not JSON") from error
    return message


def _check_sizes(text: str | bytes, envelope: _Envelope) -> None:
    """Check the limits of a message and of its fields. Raises MessageError."""
    if envelope.type != "connect" and len(text) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{envelope.type[:32]} is longer than {MAX_MESSAGE_BYTES} bytes")
    for name, max_bytes in MAX_FIELD_BYTES.items():
        value = getattr(envelope, name)
        if value is not msgspec.UNSET and memoryview(value).nbytes > max_bytes:
            raise MessageError(f"{name} is longer than {max_bytes} bytes")


def _parse_pong_with_nan(text: str | bytes) -> PongMessage | None:
    if len(text) > MAX_MESSAGE_BYTES:
        return None
    decoded = text if isinstance(text, str) else text.decode(errors="replace")
    try:
        message = _parse(_NOT_A_NUMBER.sub("null", decoded))
    except MessageError:
        return None
    return message if isinstance(message, PongMessage) else None


def check_ids(connect: ConnectMessage) -> None:
    """Check that no id is longer than Sora allows. Raises MessageError."""
    for name in ("channel_id", "client_id", "bundle_id"):
        if len((getattr(connect, name) or "").encode()) > MAX_ID_BYTES:
            raise MessageError(f"{name} is longer than {MAX_ID_BYTES} bytes")


def requested_tracks(connect: ConnectMessage) -> tuple[TrackConfig | None, TrackConfig | None]:
    """Return audio and video as they are offered, None for what the client turned off. Raises MessageError."""
    audio, video = _track("audio", connect.audio), _track("video", connect.video)
    if audio is None and video is None:
        raise MessageError("audio and video are both false")
    return audio, video


def connection_request(connect: ConnectMessage, event_metadata_json: str | None = None) -> ConnectionRequest:
    """Return the request for the recorder. Raises MessageError."""
    audio, video = requested_tracks(connect)
    return ConnectionRequest(
        channel_id=connect.channel_id,
        role=connect.role,
        client_id=connect.client_id,
        bundle_id=connect.bundle_id,
        audio=audio,
        video=video,
        event_metadata_json=event_metadata_json,
    )


def _track(kind: Kind, requested: bool | TrackRequest | None) -> TrackConfig | None:
    """Return one track. None means true, and true means Sora's defaults."""
    if requested is False:
        return None
    request = requested if isinstance(requested, TrackRequest) else TrackRequest()
    codec_type = DEFAULT_CODECS[kind] if request.codec_type is None else request.codec_type.upper()
    codec = CODECS.get(codec_type)
    if codec is None or codec.kind != kind:
        supported = ", ".join(row.name for row in CODECS.values() if row.kind == kind)
        raise MessageError(f"{kind} codec_type {codec_type[:32]} is not supported (supported: {supported})")
    rates = codec.bit_rates_kbps
    if request.bit_rate is not None and request.bit_rate not in rates:
        raise MessageError(f"{kind} bit_rate is not from {rates.start} to {rates.stop - 1}")
    given_params = getattr(request, codec.params_key)
    if given_params is not None and not isinstance(given_params, dict):
        raise MessageError(f"{codec.params_key} is not an object")
    params = {name: value for name, value in (given_params or {}).items() if name in codec.params}
    try:
        codec.format_parameters(params)
    except ParametersError as error:
        raise MessageError(f"{codec.params_key}: {error}") from error
    return TrackConfig(codec_type, request.bit_rate, params)
