"""Packets of one picture, gathered: the part that all video payload formats share.

A payload format gives two functions. `Parse` reads one payload alone: what it is (the flags below) and what to keep
of it. `Assemble` makes one picture of what was kept. When a unit begins, is whole or is lost is decided here, once.

After a loss nobody knows how much of the next unit is missing. It begins at a packet that says so itself
(SURE_START), or at a new RTP time after a single lost packet that must have been the old unit's last one, or after
a marker bit. Otherwise it is passed over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.media import AccessUnit, RtpPacket

FIRST: Final = 1
"""The payload begins a piece (an OBU, a NAL unit, a layer frame) and does not go on with one."""
LAST: Final = 2
"""The payload ends a piece; the next one must be FIRST."""
START: Final = 4
"""A unit can begin here if nothing was lost before."""
SURE_START: Final = 8
"""A unit begins here, whatever was lost before."""
LAYERED: Final = 16
"""The payload names its layer (VP9 only)."""
AFTER_LOSS: Final = 32
"""Set on a unit's first payload: packets before it are missing, and only SURE_START speaks for its wholeness."""

MAX_UNIT_BYTES: Final = 8 * 1024 * 1024
"""A larger unit is dropped. A key frame of 4096x2160 at the finest quantizer has about 4 MB."""


@dataclass(slots=True, init=False)
class Picture:
    """What one unit holds: the bytes for a file, and what its bitstream says of itself."""

    data: bytes
    is_keyframe: bool
    width: int
    height: int

    def __init__(self, data: bytes, is_keyframe: bool, width: int, height: int) -> None:
        self.data = data
        self.is_keyframe = is_keyframe
        self.width = width
        self.height = height


Parse = Callable[[bytes], tuple[int, bytes]]
"""One payload to its flags and what to keep. Raises PayloadError."""

Assemble = Callable[[list[bytes], list[int]], Picture | None]
"""A unit's pieces and their flags to the picture, None where nothing is to be stored. Raises PayloadError."""

_NO_GAP: Final = 0
_KNOWN_GAP: Final = 1
_GAP: Final = 2


class UnitAssembler:
    """The Depacketizer of a video format. A unit's `arrival_ns` is that of its earliest packet."""

    __slots__ = (
        "_arrival_ns",
        "_assemble",
        "_ended",
        "_flags",
        "_gap",
        "_has_markers",
        "_parse",
        "_pieces",
        "_ready",
        "_size",
        "_time",
        "dropped_units",
    )

    def __init__(self, parse: Parse, assemble: Assemble) -> None:
        self.dropped_units = 0
        self._parse = parse
        self._assemble = assemble
        self._time: int | None = None
        self._arrival_ns = 0
        self._pieces: list[bytes] = []  # empty while the unit of `_time` is passed over or out
        self._flags: list[int] = []
        self._size = 0
        self._ended = True  # the marker bit was seen: whatever comes is of another unit
        self._has_markers = False
        self._gap = _GAP  # a first packet may be from the middle of a unit
        self._ready: AccessUnit | None = None  # whole, but the push that completed it gave another one

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Take the next packet; give the unit that it completes. Raises PayloadError."""
        if self._ready is None:
            return self._take(packet)
        unit = self._take(packet)
        ready, self._ready = self._ready, unit
        return ready

    def lost(self, count: int) -> None:
        """Drop the unit under way, if it is one that the `count` missing packets belong to."""
        if self._pieces:
            self._drop()
        single_end = count == 1 and self._has_markers and not self._ended and self._gap == _NO_GAP
        self._gap = _KNOWN_GAP if single_end else _GAP

    def flush(self) -> AccessUnit | None:
        """Give what is whole. Without a marker that is known only of senders that never set one."""
        unit, self._ready = self._ready, None
        if unit is None and self._pieces:
            if self._has_markers:
                self._drop()
            else:
                try:
                    unit = self._complete()
                except PayloadError:
                    unit = None
        self._ended = True
        return unit

    def _take(self, packet: RtpPacket) -> AccessUnit | None:
        try:
            flags, piece = self._parse(packet.payload)
        except PayloadError:
            if not packet.payload:
                return None
            self._refuse(packet)
            raise
        if self._ended or packet.timestamp != self._time:
            return self._begin(packet, flags, piece)
        marker = packet.marker
        if marker:
            self._ended = self._has_markers = True
        pieces = self._pieces
        if not pieces:
            self._gap = _NO_GAP
            return None
        if (flags & FIRST) << 1 != self._flags[-1] & LAST:
            self._drop()
            raise PayloadError("a fragment without its beginning or its end")
        pieces.append(piece)
        self._flags.append(flags)
        self._size += len(piece)
        self._arrival_ns = min(self._arrival_ns, packet.arrival_ns)  # the first one may have been repaired
        if self._size > MAX_UNIT_BYTES:
            self._drop()
            raise PayloadError(f"a unit of more than {MAX_UNIT_BYTES} bytes")
        return self._complete() if marker else None

    def _begin(self, packet: RtpPacket, flags: int, piece: bytes) -> AccessUnit | None:
        """Begin the packet's unit; a unit still under way had no marker and is whole now."""
        gap = self._gap
        begins = flags & SURE_START or (flags & START and gap != _GAP)
        previous = self._replace(packet)
        if begins:
            self._pieces.append(piece)
            self._flags.append(flags | AFTER_LOSS if gap == _GAP else flags)
            self._size = len(piece)
        else:
            self.dropped_units += 1
        whole = begins and packet.marker
        if previous is None:
            if not begins and gap == _NO_GAP:
                raise PayloadError("a unit without its beginning")
            return self._complete() if whole else None
        try:
            return self._finish(*previous)
        finally:
            if whole:
                self._ready = self._complete()

    def _refuse(self, packet: RtpPacket) -> None:
        """Pass over the unit of a packet that cannot be read."""
        if not self._ended and packet.timestamp == self._time:
            self._gap = _NO_GAP
            if packet.marker:
                self._ended = self._has_markers = True
            if self._pieces:
                self._drop()
            return
        previous = self._replace(packet)
        self.dropped_units += 1
        if previous is not None:
            self._ready = self._finish(*previous)

    def _replace(self, packet: RtpPacket) -> tuple[int, int, list[bytes], list[int]] | None:
        """Make the packet's unit the one under way, still empty; give the one before it."""
        previous = None
        if self._pieces and self._time is not None:
            previous = (self._time, self._arrival_ns, self._pieces, self._flags)
        self._time = packet.timestamp
        self._arrival_ns = packet.arrival_ns
        self._pieces = []
        self._flags = []
        self._gap = _NO_GAP
        self._ended = packet.marker
        if packet.marker:
            self._has_markers = True
        return previous

    def _drop(self) -> None:
        self._pieces = []
        self._flags = []
        self.dropped_units += 1

    def _complete(self) -> AccessUnit | None:
        pieces, flags = self._pieces, self._flags
        self._pieces, self._flags = [], []
        return self._finish(self._time or 0, self._arrival_ns, pieces, flags)

    def _finish(self, time: int, arrival_ns: int, pieces: list[bytes], flags: list[int]) -> AccessUnit | None:
        if not flags[-1] & LAST:
            self.dropped_units += 1
            raise PayloadError("a unit that ends within a fragment")
        try:
            picture = self._assemble(pieces, flags)
        except PayloadError:
            self.dropped_units += 1
            raise
        if picture is None:
            return None
        return AccessUnit(time, picture.data, picture.is_keyframe, arrival_ns, picture.width, picture.height)
