"""The one door of every payload format: payloads in order go in, access units come out."""

from typing import Protocol

from rokuga.recorder.media import AccessUnit, RtpPacket


class PayloadError(ValueError):
    """The payload breaks its RTP payload format; the unit that it belongs to is dropped."""


class Depacketizer(Protocol):
    """Assembles access units of one track.

    Packets come in order, duplicates and padding-only packets removed, sequence and timestamp unwrapped.
    A partial unit never comes out. After `lost`, the unit under way is dropped and packets are passed over until
    the next unit starts. Whether later units can still be decoded is not decided here (see `recorder/track.py`).
    """

    dropped_units: int
    """Units that were begun or announced and did not come out whole: grows by one for each."""

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Take the next packet; give the unit that it completes. Raises PayloadError, and nothing else."""
        ...

    def lost(self, count: int) -> None:
        """Learn that `count` packets are missing at this place and will not come."""
        ...

    def flush(self) -> AccessUnit | None:
        """Give the unit under way if it is whole although nothing has followed it (senders without a marker)."""
        ...
