"""The one door of every payload format: payloads in order go in, access units come out."""

from typing import Protocol

from rokuga.recorder.media import AccessUnit, RtpPacket


class PayloadError(ValueError):
    """The payload breaks its RTP payload format; the unit that it belongs to is dropped.

    `unit` is the one before, if the packet showed that it is whole.
    """

    def __init__(self, message: str, unit: AccessUnit | None = None) -> None:
        super().__init__(message)
        self.unit = unit  # compiled, a default of the class would not reach what is derived from ValueError


class Depacketizer(Protocol):
    """Assembles access units of one track.

    Packets come in order, duplicates and padding-only packets removed, sequence and timestamp unwrapped.
    A partial unit never comes out. After `lost`, the unit under way is dropped and packets are passed over until
    the next unit starts. Whether later units can still be decoded is not decided here (see `recorder/track.py`).
    """

    dropped_units: int
    """Units that were begun or announced and did not come out whole: grows by one for each."""

    @property
    def is_open(self) -> bool:
        """Whether a unit is under way."""
        ...

    @property
    def is_awaited(self) -> bool:
        """Whether a unit is under way that is likely to be whole soon."""
        ...

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Take the next packet; give the unit that it shows to be whole. Raises PayloadError, and nothing else."""
        ...

    def lost(self, count: int) -> None:
        """Learn that `count` packets are missing at this place and will not come.

        A unit that was whole before comes out by the next call of another method.
        """
        ...

    def settle(self, now_ns: int) -> AccessUnit | None:
        """Give the unit under way if so much time has passed that nothing more of it is to be expected."""
        ...

    def flush(self) -> AccessUnit | None:
        """Give the unit under way if it is whole although nothing has followed it."""
        ...
