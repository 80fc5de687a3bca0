"""What signalling settled about one connection: its names and its tracks. It is stored with what was recorded.

msgspec reads these types by their annotations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """What was negotiated for one kind of media of one connection, in Sora's words.

    `codec_type` is a name of the codec table (OPUS, VP9, ...); `params` is the client's `vp9_params` and the like.
    `bit_rate_kbps` is None where the client asked for none.
    """

    codec_type: str
    bit_rate_kbps: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectionIdentity:
    """The names of one connection. All but `channel_id`, `client_id` and `bundle_id` are made by us.

    `event_metadata_json` is what its customer wants to read in every event about it: JSON text, None for nothing.
    """

    channel_id: str
    session_id: str
    client_id: str
    bundle_id: str
    connection_id: str
    event_metadata_json: str | None = None
