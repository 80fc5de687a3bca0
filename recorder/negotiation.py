"""The result of signalling for one connection: its ids and its tracks, which are stored with its archives.

msgspec decodes these types by their annotations, so this module is not compiled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """What was negotiated for one kind of media.

    `codec_type` is a name of the codec table (OPUS, VP9, ...), `params` are the client's parameters (`vp9_params`),
    and `bit_rate_kbps` is None where the client requested none.
    """

    codec_type: str
    bit_rate_kbps: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectionIdentity:
    """The ids of one connection. All but `channel_id`, `client_id` and `bundle_id` are generated here.

    `event_metadata_json` is JSON text that every event about the connection contains, None for none.
    """

    channel_id: str
    session_id: str
    client_id: str
    bundle_id: str
    connection_id: str
    event_metadata_json: str | None = None
