"""What a client says in Sora's signalling, read liberally, and what it asks the recorder for by it.

One JSON object a WebSocket frame, `type` tells which (https://sora-doc.shiguredo.jp/SIGNALING). A client may give
null for what is optional, and keys that nobody knows.
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
"""Of every message but a connect. The statistics in a pong have 10 to 40 kB, an answer less."""

MAX_FIELD_BYTES: Final[Mapping[str, int]] = {
    "metadata": 64 * 1024,
    "signaling_notify_metadata": 16 * 1024,
    **dict.fromkeys(("audio", "video", "sora_client", "environment", "libwebrtc", "redirect", "reason"), 4096),
}
"""Fields that are kept or repeated, as JSON. Notifications repeat signaling_notify_metadata to everybody."""

_NOT_A_NUMBER = re.compile(r"(?<=[:,\[])\s*-?(?:inf|infinity|nan(?:\(\w*\))?)\s*(?=[,}\]])", re.IGNORECASE)
"""As C's printf writes them; on Windows also as `-nan(ind)`."""


class MessageError(ValueError):
    """The client's message cannot be read or asks for what cannot be had; the text says which, for people."""


Name = Annotated[str, msgspec.Meta(min_length=1)]


class Connect(msgspec.Struct, frozen=True, tag="connect"):
    """The first message. Its `sdp` is a throw-away that shows what a browser can do, and is not read.

    `redirect` is true where another node sent the client here.
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


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The client's answer to our offer."""

    sdp: str


class Candidate(msgspec.Struct, frozen=True, tag="candidate"):
    """One of the client's candidates. ICE-lite needs none, so whatever it says is right."""


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """The answer to our ping."""


class Disconnect(msgspec.Struct, frozen=True, tag="disconnect"):
    """The client leaves."""

    reason: Any = None


class Other(msgspec.Struct, frozen=True):
    """A message that means nothing to a recorder (stats, re-answer, ...)."""

    type: str


_Field = msgspec.Raw | msgspec.UnsetType


class _Envelope(msgspec.Struct, frozen=True):
    """Any message, of which nothing but the type is decoded; the fields of MAX_FIELD_BYTES as they came."""

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


Message = Connect | Answer | Candidate | Pong | Disconnect | Other

_READ: Final[Mapping[str, type[Connect | Answer | Candidate | Pong | Disconnect]]] = {
    "connect": Connect,
    "answer": Answer,
    "candidate": Candidate,
    "pong": Pong,
    "disconnect": Disconnect,
}


def parse_message(text: str | bytes) -> Message:
    """Read one frame. Raises MessageError.

    libwebrtc's statistics in a pong hold `-inf` and `nan`, which no JSON has: there they are overlooked.
    """
    try:
        return _parse(text)
    except MessageError:
        pong = _without_infinities(text)
        if pong is None:
            raise
        return pong


def _parse(text: str | bytes) -> Message:
    """Read JSON. Its sizes are looked at before anything of it is decoded; what nobody needs never is."""
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        _check_sizes(text, envelope)
        kind = _READ.get(envelope.type)
        message = Other(envelope.type) if kind is None else msgspec.json.decode(text, type=kind)
        if isinstance(message, Connect):
            json_text.check_depth([message.metadata, message.signaling_notify_metadata])
    except (msgspec.ValidationError, json_text.JsonError) as error:
        raise MessageError(str(error)) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MessageError("the message is not JSON") from error
    return message


def _check_sizes(text: str | bytes, envelope: _Envelope) -> None:
    """See that a message has no more than is kept. Raises MessageError."""
    if envelope.type != "connect" and len(text) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{envelope.type[:32]} is longer than {MAX_MESSAGE_BYTES} bytes")
    for name, most in MAX_FIELD_BYTES.items():
        value = getattr(envelope, name)
        if value is not msgspec.UNSET and memoryview(value).nbytes > most:
            raise MessageError(f"{name} is longer than {most} bytes")


def _without_infinities(text: str | bytes) -> Pong | None:
    if len(text) > MAX_MESSAGE_BYTES:
        return None
    decoded = text if isinstance(text, str) else text.decode(errors="replace")
    try:
        message = _parse(_NOT_A_NUMBER.sub("null", decoded))
    except MessageError:
        return None
    return message if isinstance(message, Pong) else None


def check_ids(connect: Connect) -> None:
    """See that the ids are of a length that Sora takes. Raises MessageError."""
    for name in ("channel_id", "client_id", "bundle_id"):
        if len((getattr(connect, name) or "").encode()) > MAX_ID_BYTES:
            raise MessageError(f"{name} is longer than {MAX_ID_BYTES} bytes")


def requested_tracks(connect: Connect) -> tuple[TrackConfig | None, TrackConfig | None]:
    """Give audio and video as they are to be offered, None for what the client does not want. Raises MessageError."""
    audio, video = _track("audio", connect.audio), _track("video", connect.video)
    if audio is None and video is None:
        raise MessageError("audio and video are both false")
    return audio, video


def connection_request(connect: Connect, event_metadata_json: str | None = None) -> ConnectionRequest:
    """Give what the recorder is to be asked for. Raises MessageError."""
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


def _track(kind: Kind, asked: bool | TrackRequest | None) -> TrackConfig | None:
    """Nothing said means true, and true means Sora's defaults."""
    if asked is False:
        return None
    request = asked if isinstance(asked, TrackRequest) else TrackRequest()
    codec_type = DEFAULT_CODECS[kind] if request.codec_type is None else request.codec_type.upper()
    codec = CODECS.get(codec_type)
    if codec is None or codec.kind != kind:
        known = ", ".join(row.name for row in CODECS.values() if row.kind == kind)
        raise MessageError(f"{kind} codec_type {codec_type[:32]} is not supported (supported: {known})")
    rates = codec.bit_rates_kbps
    if request.bit_rate is not None and request.bit_rate not in rates:
        raise MessageError(f"{kind} bit_rate is not from {rates.start} to {rates.stop - 1}")
    asked_params = getattr(request, codec.params_key)
    if asked_params is not None and not isinstance(asked_params, dict):
        raise MessageError(f"{codec.params_key} is not an object")
    params = {name: value for name, value in (asked_params or {}).items() if name in codec.params}
    try:
        codec.format_parameters(params)
    except ParametersError as error:
        raise MessageError(f"{codec.params_key}: {error}") from error
    return TrackConfig(codec_type, request.bit_rate, params)
