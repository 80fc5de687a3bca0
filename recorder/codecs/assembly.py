"""Assemble the packets of one picture: what all video payload formats share.

A payload format has two functions. `Parse` reads a single payload: its flags (below) and the piece to keep.
`Assemble` makes a picture of the pieces. This module decides when a unit begins, is complete or is lost.

All packets of a unit share an RTP time. The marker bit does not end it: senders set it on each slice, on every packet
or never, and a receiver must not rely on it (RFC 6184 section 5.1). A unit is complete

* when a packet of another time follows, or one that begins another picture after a marker bit;
* at once where the payload format says so (SURE_END);
* when nothing has followed its marker bit for MARKED_NS, or, for senders that do not end each unit by a marker bit,
  when nothing has followed for UNMARKED_NS (`expire`).

After a loss it is unknown how much of the next unit is missing. It begins at a packet with SURE_START, at a new RTP
time after a single lost packet that must have been the last one of the unit before, or after a marker bit. Otherwise
it is skipped. The unit before a loss is complete if it ended by SURE_END, or by the marker bit of a sender that has
set none too early.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.media import NS_PER_MS, AccessUnit, RtpPacket

FIRST: Final = 1
"""The payload begins a piece (an OBU, a NAL unit, a layer frame) instead of continuing one."""
LAST: Final = 2
"""The payload ends a piece; the next one must be FIRST."""
START: Final = 4
"""A unit can begin here if nothing was lost before."""
SURE_START: Final = 8
"""A unit begins here, whatever was lost before."""
LAYERED: Final = 16
"""The payload names its layer (VP9 only)."""
AFTER_LOSS: Final = 32
"""Set on a unit's first payload if packets before it are missing."""
PICTURE: Final = 64
"""The payload begins a picture. A unit has one such payload, unless two pictures have the same RTP time."""
SURE_END: Final = 128
"""The unit ends here, regardless of the marker bit."""

MAX_UNIT_BYTES: Final = 8 * 1024 * 1024
"""A larger unit is dropped. A key frame of 4096x2160 at the finest quantizer has about 4 MB."""


@dataclass(slots=True, init=False)
class Picture:
    """A picture: the bytes to store, and what its bitstream says; `width` and `height` are pixels or 0."""

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
"""From a payload to its flags and the piece to keep. Raises PayloadError."""

Assemble = Callable[[list[bytes], list[int]], Picture | None]
"""From a unit's pieces and their flags to its picture, None if nothing is to be stored. Raises PayloadError."""

MARKED_NS: Final = 50 * NS_PER_MS
"""How long a unit with a marker bit is waited for, of a sender that has set none too early."""

UNMARKED_NS: Final = 1000 * NS_PER_MS
"""The same for other units: as long as a missing packet is waited for."""

_NO_GAP: Final = 0
_KNOWN_GAP: Final = 1
_GAP: Final = 2

_NO_MARKERS: Final = 0  # of a sender's marker bits: none was seen yet,
_END_MARKERS: Final = 1  # none was followed by a packet of the same unit,
_EARLY_MARKERS: Final = 2  # one was


class UnitAssembler:
    """The Depacketizer of a video format. A unit's `arrival_ns` is that of its earliest packet."""

    __slots__ = (
        "_arrival_ns",
        "_assemble",
        "_checked_ns",
        "_checked_size",
        "_flags",
        "_gap",
        "_is_marked",
        "_is_quiet",
        "_is_returned",
        "_is_short",
        "_markers",
        "_parse",
        "_pieces",
        "_size",
        "_time",
        "dropped_units",
    )

    def __init__(self, parse: Parse, assemble: Assemble) -> None:
        self.dropped_units = 0
        self._parse = parse
        self._assemble = assemble
        self._time: int | None = None  # of the current unit, or of the last one that was skipped or returned
        self._arrival_ns = 0
        self._pieces: list[bytes] = []  # empty while the unit of `_time` is skipped or was returned
        self._flags: list[int] = []
        self._size = 0
        self._is_returned = False
        self._is_short = False  # more of it arrived after it was returned
        self._is_marked = False  # the newest packet of the unit had the marker bit
        self._markers = _NO_MARKERS
        self._gap = _GAP  # a first packet may be from the middle of a unit
        self._checked_size = 0  # the unit's size when `settle` last found that it had grown,
        self._checked_ns = 0  # when that was,
        self._is_quiet = False  # and whether it has lacked its end for long since

    @property
    def is_open(self) -> bool:
        """Whether the current unit is incomplete."""
        return bool(self._pieces)

    @property
    def is_awaited(self) -> bool:
        """Whether the current unit is incomplete and likely to be completed soon."""
        return bool(self._pieces) and not (self._is_quiet and self._checked_size == self._size)

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Add the next packet; return the unit that it shows to be complete. Raises PayloadError."""
        try:
            flags, piece = self._parse(packet.payload)
        except PayloadError as error:
            if not packet.payload:
                return None
            error.unit = self._skip_unit(packet)
            raise
        if packet.timestamp != self._time or (flags & PICTURE and self._is_another_picture()):
            return self._begin(packet, flags, piece)
        if packet.marker or self._is_marked:
            self._note_marker(packet.marker)
        pieces = self._pieces
        if not pieces:
            self._skip()
            if self._is_returned:
                raise PayloadError("a packet of a unit that is out")
            return None
        if (flags & FIRST) << 1 != self._flags[-1] & LAST:
            self._drop()
            raise PayloadError("a fragment without its beginning or its end")
        pieces.append(piece)
        self._flags.append(flags)
        self._size += len(piece)
        self._arrival_ns = min(self._arrival_ns, packet.arrival_ns)  # the first one may be a retransmission
        if self._size > MAX_UNIT_BYTES:
            self._drop()
            raise PayloadError(f"a unit of more than {MAX_UNIT_BYTES} bytes")
        return self._complete() if flags & SURE_END else None

    def lost(self, count: int) -> None:
        """Drop the current unit if the `count` missing packets may belong to it."""
        if self._pieces and not self._has_ended():
            self._drop()
        is_last = (
            count == 1
            and self._markers == _END_MARKERS
            and not (self._is_marked or self._is_returned)
            and self._gap == _NO_GAP
        )
        self._gap = _KNOWN_GAP if is_last and not self._pieces else _GAP

    def discontinuity(self) -> None:
        """Drop the current unit unless it has ended: packets of it, and of the next one, may be missing."""
        if self._pieces and not self._has_ended():
            self._drop()
        self._gap = _GAP

    def expire(self, now_ns: int) -> AccessUnit | None:
        """Return the current unit if nothing has followed it for long; to be called periodically.

        An invalid unit is dropped without an error.
        """
        if not self._pieces:
            return None
        if self._checked_size != self._size:
            self._checked_size, self._checked_ns, self._is_quiet = self._size, now_ns, False
            return None
        has_ended = self._has_ended()
        if now_ns - self._checked_ns < (MARKED_NS if has_ended else UNMARKED_NS):
            return None
        if self._markers == _END_MARKERS and not has_ended:
            self._is_quiet = True
            return None
        return self._complete_or_drop()

    def flush(self) -> AccessUnit | None:
        """Return the current unit if it is complete; without a marker bit only for senders that set none."""
        if self._pieces and self._markers == _END_MARKERS and not self._has_ended():
            self._drop()
        return self._complete_or_drop() if self._pieces else None

    def _has_ended(self) -> bool:
        """Return whether the current unit ends by SURE_END or by a marker bit that can be relied on."""
        return bool(self._flags[-1] & SURE_END) or (self._is_marked and self._markers != _EARLY_MARKERS)

    def _is_another_picture(self) -> bool:
        """Return whether a picture that begins at the same RTP time is another one than that of the unit."""
        return self._is_returned or (self._is_marked and any(flag & PICTURE for flag in self._flags))

    def _note_marker(self, marker: bool) -> None:
        """Note a packet of the current unit with a marker bit, or after one."""
        if self._is_marked:
            self._markers = _EARLY_MARKERS
            if self._gap != _NO_GAP and self._pieces:  # the missing packets were of this unit
                self._drop()
        elif self._markers == _NO_MARKERS:
            self._markers = _END_MARKERS
        self._is_marked = marker

    def _skip(self) -> None:
        """Skip a packet of a unit that was dropped, or returned, in which case it was incomplete."""
        self._gap = _NO_GAP
        if self._is_returned and not self._is_short:
            self._is_short = True
            self.dropped_units += 1

    def _begin(self, packet: RtpPacket, flags: int, piece: bytes) -> AccessUnit | None:
        """Begin the packet's unit; the current one is complete."""
        gap = self._gap
        begins = flags & SURE_START or (flags & START and gap != _GAP)
        previous = self._replace(packet)
        if begins:
            self._pieces.append(piece)
            self._flags.append(flags | AFTER_LOSS if gap == _GAP else flags)
            self._size = len(piece)
        else:
            self.dropped_units += 1
        unit = self._finish(*previous) if previous is not None else None
        if begins:
            return self._complete() if flags & SURE_END and previous is None else unit
        if gap == _NO_GAP:
            raise PayloadError("a unit without its beginning", unit)
        return unit

    def _skip_unit(self, packet: RtpPacket) -> AccessUnit | None:
        """Skip the unit of a packet that cannot be parsed; return the one before it."""
        if packet.timestamp == self._time:
            if packet.marker or self._is_marked:
                self._note_marker(packet.marker)
            if self._pieces:
                self._drop()
            self._skip()
            return None
        previous = self._replace(packet)
        self.dropped_units += 1
        return self._finish(*previous) if previous is not None else None

    def _replace(self, packet: RtpPacket) -> tuple[int, int, list[bytes], list[int]] | None:
        """Make the packet's unit the current one, still empty; return the one before it."""
        previous = None
        if self._pieces and self._time is not None:
            previous = (self._time, self._arrival_ns, self._pieces, self._flags)
        self._time = packet.timestamp
        self._arrival_ns = packet.arrival_ns
        self._pieces = []
        self._flags = []
        self._gap = _NO_GAP
        self._checked_size = 0
        self._is_returned = self._is_short = False
        self._is_marked = packet.marker
        if packet.marker and self._markers == _NO_MARKERS:
            self._markers = _END_MARKERS
        return previous

    def _drop(self) -> None:
        self._pieces = []
        self._flags = []
        self.dropped_units += 1

    def _complete(self) -> AccessUnit | None:
        pieces, flags = self._pieces, self._flags
        self._pieces, self._flags = [], []
        self._is_returned = True
        return self._finish(self._time or 0, self._arrival_ns, pieces, flags)

    def _complete_or_drop(self) -> AccessUnit | None:
        """Return the current unit; an invalid one is counted without an error."""
        try:
            return self._complete()
        except PayloadError:
            return None

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
