"""The messages between a soak and its publisher workers, as one JSON line each."""

from collections.abc import Mapping, Sequence

import msgspec

from rokuga.devtools.publisher.sender import Run
from rokuga.devtools.soak.plan import PlannedPublication
from rokuga.recorder.media import Kind


class WorkerTask(msgspec.Struct, frozen=True):
    """To a worker: what to publish, and where. `begin_wall_ns` is the start of the soak."""

    url: str
    begin_wall_ns: int
    loss: float
    publications: Sequence[PlannedPublication]


class SendingStarted(msgspec.Struct, frozen=True, tag="began"):
    """A publisher sends its first packet at `begin_wall_ns`."""

    connection_id: str
    channel_id: str
    clip: str
    kinds: Sequence[Kind]
    begin_wall_ns: int


class SentUnits(msgspec.Struct, frozen=True, tag="sent"):
    """All units that a publisher has sent until a moment, as counts and runs. `reason` is that of an early end."""

    connection_id: str
    until_wall_ns: int
    units: Mapping[Kind, int]
    runs: Mapping[Kind, Sequence[Run]]
    is_over: bool = False
    reason: str = ""


class WorkerTotals(msgspec.Struct, frozen=True, tag="totals"):
    """The counters of all publishers of a worker since its start, ended ones included."""

    sending: int = 0
    packets: int = 0
    dropped: int = 0
    retransmissions: int = 0
    keyframe_requests: int = 0
    refused: int = 0


WorkerMessage = SendingStarted | SentUnits | WorkerTotals
