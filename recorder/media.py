"""The values that are passed on from a socket to a file: packets, access units, frames.

Sequence numbers and RTP times are unwrapped: ints that only grow (RFC 3550 section 5.1 has the wire widths). Times
are nanoseconds as int: `*_ns` of the monotonic clock of this process, `*_wall_ns` since 1970-01-01 UTC.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

Kind = Literal["audio", "video"]

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000


# Each class has an `__init__` of its own: the one of a dataclass is interpreted where all else is compiled.


@dataclass(slots=True, init=False)
class RtpPacket:
    """One RTP packet (RFC 3550 section 5.1), decrypted, its padding removed.

    `sequence` and `timestamp` are as on the wire until the track unwraps them.
    `payload` is empty for padding-only packets.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    arrival_ns: int

    def __init__(
        self,
        payload_type: int,
        marker: bool,
        sequence: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        arrival_ns: int,
    ) -> None:
        self.payload_type = payload_type
        self.marker = marker
        self.sequence = sequence
        self.timestamp = timestamp
        self.ssrc = ssrc
        self.payload = payload
        self.arrival_ns = arrival_ns


@dataclass(slots=True, init=False)
class AccessUnit:
    """What a decoder takes at once: one picture with all its layers, or one Opus packet.

    `width` and `height` are pixels, 0 where this unit does not contain them. Audio units are key frames.
    """

    rtp_time: int
    data: bytes
    is_keyframe: bool
    arrival_ns: int
    width: int
    height: int

    def __init__(
        self, rtp_time: int, data: bytes, is_keyframe: bool, arrival_ns: int, width: int = 0, height: int = 0
    ) -> None:
        self.rtp_time = rtp_time
        self.data = data
        self.is_keyframe = is_keyframe
        self.arrival_ns = arrival_ns
        self.width = width
        self.height = height


@dataclass(slots=True, init=False)
class Frame:
    """An access unit with its kind and its time on the monotonic clock of this process."""

    kind: Kind
    unit: AccessUnit
    time_ns: int

    def __init__(self, kind: Kind, unit: AccessUnit, time_ns: int) -> None:
        self.kind = kind
        self.unit = unit
        self.time_ns = time_ns


class MediaSink(Protocol):
    """Receives the media of one peer, called synchronously from the read of the socket."""

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Receive an access unit; those of a kind arrive in decoding order."""
        ...

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Receive a sender report of the active source; `rtp_time` is unwrapped."""
        ...

    def source_changed(self, kind: Kind) -> None:
        """The next unit of this kind is the first one of another source."""
        ...
