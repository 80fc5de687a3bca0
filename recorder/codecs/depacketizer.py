"""The interface of all payload formats: packets in order in, access units out."""

from typing import Protocol

from rokuga.recorder.media import AccessUnit, RtpPacket


class PayloadError(ValueError):
    """The payload violates its RTP payload format; its unit is dropped.

    `unit` is the unit before it, if the packet showed that it is complete.
    """

    def __init__(self, message: str, unit: AccessUnit | None = None) -> None:
        super().__init__(message)
        self.unit = unit  # mypyc does not set defaults of a class body in exceptions


class Depacketizer(Protocol):
    """Assembles the access units of one track.

    Packets are in order, without duplicates and padding-only packets, sequence number and timestamp unwrapped. No
    partial unit is returned. After `lost` or `discontinuity`, packets are skipped until the next unit begins. Whether
    later units can be decoded is decided by `recorder/track.py`.
    """

    dropped_units: int
    """How many units were lost or incomplete."""

    @property
    def is_open(self) -> bool:
        """Whether the current unit is incomplete."""
        ...

    @property
    def is_awaited(self) -> bool:
        """Whether the current unit is incomplete and likely to be completed soon."""
        ...

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Add the next packet; return the unit that it shows to be complete. Raises PayloadError only."""
        ...

    def lost(self, count: int) -> None:
        """Note that `count` packets are missing at this place.

        A unit that was complete before is returned by the next call of another method.
        """
        ...

    def discontinuity(self) -> None:
        """Note that an unknown number of packets is missing at this place."""
        ...

    def expire(self, now_ns: int) -> AccessUnit | None:
        """Return the current unit if nothing more of it is to be expected after so long."""
        ...

    def flush(self) -> AccessUnit | None:
        """Return the current unit if it is complete although no packet has followed it."""
        ...
