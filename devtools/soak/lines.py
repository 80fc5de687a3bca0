"""What the soak and its publishers' processes say to each other: one JSON line each."""

from collections.abc import Mapping, Sequence

import msgspec

from rokuga.devtools.publisher.sender import Run
from rokuga.devtools.soak.plan import Role
from rokuga.recorder.media import Kind


class Order(msgspec.Struct, frozen=True):
    """To a process: whom to play, `begin_wall_ns` being the soak's start."""

    url: str
    begin_wall_ns: int
    loss: float
    roles: Sequence[Role]


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A publisher sends its first packet at `begin_wall_ns`."""

    connection_id: str
    channel_id: str
    clip: str
    kinds: Sequence[Kind]
    begin_wall_ns: int


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """All that a publisher has sent until a moment: so many units, in these runs. `reason` is why it has ended."""

    connection_id: str
    until_wall_ns: int
    units: Mapping[Kind, int]
    runs: Mapping[Kind, Sequence[Run]]
    is_over: bool = False
    reason: str = ""


class Totals(msgspec.Struct, frozen=True, tag="totals"):
    """What a process's publishers have sent since its start, those who are gone included."""

    sending: int = 0
    packets: int = 0
    dropped: int = 0
    retransmissions: int = 0
    keyframe_requests: int = 0
    refused: int = 0


Line = Began | Sent | Totals
