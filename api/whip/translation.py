"""Translation of WHIP requests into Sora's signalling (pure).

RFC 9725 (WHIP), RFC 9110 (HTTP), RFC 6750 (bearer tokens), RFC 8840 (fragments of trickle ICE).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from rokuga.api.signaling.client_messages import ConnectMessage, MessageError, requested_tracks
from rokuga.api.signaling.track_request import TrackRequest
from rokuga.api.whip.problem import Problem
from rokuga.recorder.media import Kind

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"

_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[^"]*"')

CodecTypes = Mapping[Kind, Sequence[str]]
"""Sora's names of the offered codecs that can be recorded, in the client's order of preference."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """The ICE credentials of a PATCH. Its candidates are ignored, since ICE-lite needs none."""

    ice_ufrag: str
    ice_password: str


def check_media_type(header: str | None, expected: str) -> None:
    """Check the media type of a body. Raises Problem with Accept-Post or Accept-Patch (RFC 9110 section 15.5.16)."""
    if (header or "").partition(";")[0].strip().lower() != expected:
        name = "Accept-Post" if expected == SDP else "Accept-Patch"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body has to be {expected}", {name: expected})


def bearer_token(header: str | None) -> str | None:
    """Return the token of an Authorization header, None where there is none (RFC 6750 section 2.1)."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def if_match_holds(if_match: str | None, etag: str) -> bool:
    """Return whether If-Match holds for an entity tag; without the header it does (RFC 9110 section 13.1.1)."""
    return if_match is None or if_match.strip() == "*" or etag in _ENTITY_TAG.findall(if_match)


def session_location(raw_path: str, session_id: str) -> str:
    """Return the URL of a session relative to that of the POST, whose path is `raw_path` (RFC 3986 section 4.2).

    It is relative because a proxy may have removed a prefix of the path. Each slash in the path is one `../`.
    """
    return "../" * (raw_path.count("/") - 1) + f"whip-session/{session_id}"


def read_fragment(text: str) -> Fragment:
    """Parse the SDP fragment of a PATCH (RFC 8840). Raises Problem."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in {"a=ice-ufrag", "a=ice-pwd"}:
            found.setdefault(name, value.strip())
    if not found.get("a=ice-ufrag") or not found.get("a=ice-pwd"):
        raise Problem(HTTPStatus.BAD_REQUEST, "the fragment has no ice-ufrag and ice-pwd")
    return Fragment(found["a=ice-ufrag"], found["a=ice-pwd"])


def connect(channel_id: str, codec_types: CodecTypes, token: str | None, user_agent: str | None) -> ConnectMessage:
    """Return the `connect` of signalling that corresponds to a POST; the token is its `metadata.access_token`."""
    return ConnectMessage(
        role="sendonly",
        channel_id=channel_id,
        audio=_first(codec_types.get("audio")),
        video=_first(codec_types.get("video")),
        metadata=None if token is None else {"access_token": token},
        sora_client="WHIP",
        environment=user_agent,
    )


def _first(codec_types: Sequence[str] | None) -> bool | TrackRequest:
    return TrackRequest(codec_type=codec_types[0]) if codec_types else False


def restrict_to_offer(allowed: ConnectMessage, codec_types: CodecTypes) -> ConnectMessage:
    """Return `allowed` without kinds that are not offered. Raises MessageError for a codec that is not offered."""
    changes = {kind: False for kind in ("audio", "video") if kind not in codec_types}
    narrowed = msgspec.structs.replace(allowed, **changes)
    offered = [codec_type for kind in codec_types.values() for codec_type in kind]
    for track in requested_tracks(narrowed):
        if track is not None and track.codec_type not in offered:
            raise MessageError(f"{track.codec_type} is allowed and not offered")
    return narrowed
