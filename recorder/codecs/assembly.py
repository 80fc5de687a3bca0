"""Packets of one picture, gathered: the part that all video payload formats share.

A payload format gives two functions. `Parse` reads one payload alone: what it is (the flags below) and what to keep
of it. `Assemble` makes one picture of what was kept. When a unit begins, is whole or is lost is decided here, once.

A unit is what shares an RTP time, wherever the marker bit stands: senders set it at the end of each slice, on every
packet, or never, and a receiver must not rely on it (RFC 6184 section 5.1). So a unit is whole

* when a packet of another time follows, or one that begins another picture behind a marker bit;
* at once where the payload format itself says so (SURE_END);
* when nothing has followed its marker bit for MARKED_NS, or, of senders that do not end each unit by a marker bit,
  when nothing has followed for UNMARKED_NS (`settle`).

After a loss nobody knows how much of the next unit is missing. It begins at a packet that says so itself
(SURE_START), or at a new RTP time after a single lost packet that must have been the old unit's last one, or after
a marker bit. Otherwise it is passed over. The unit before a loss is whole if it ended by SURE_END, or by the marker
bit of a sender that has set none too early.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.media import NS_PER_MS, AccessUnit, RtpPacket

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
PICTURE: Final = 64
"""The payload begins a picture. A unit has one such payload, unless its sender gives two pictures one RTP time."""
SURE_END: Final = 128
"""The unit ends here, whatever the marker bit says."""

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

MARKED_NS: Final = 50 * NS_PER_MS
"""What has not followed a marker bit for so long, of a sender that has set none too early, will not follow."""

UNMARKED_NS: Final = 1000 * NS_PER_MS
"""The same for all other units: as long as a missing packet is waited for."""

_NO_GAP: Final = 0
_KNOWN_GAP: Final = 1
_GAP: Final = 2

_NO_MARKERS: Final = 0  # what is known of a sender's marker bits: none was seen yet,
_END_MARKERS: Final = 1  # none was followed by a packet of the same unit,
_EARLY_MARKERS: Final = 2  # one was


class UnitAssembler:
    """The Depacketizer of a video format. A unit's `arrival_ns` is that of its earliest packet."""

    __slots__ = (
        "_arrival_ns",
        "_assemble",
        "_flags",
        "_gap",
        "_is_marked",
        "_is_out",
        "_is_quiet",
        "_is_short",
        "_looked_ns",
        "_looked_size",
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
        self._time: int | None = None  # of the unit under way, or of the last one that was passed over or given
        self._arrival_ns = 0
        self._pieces: list[bytes] = []  # empty while the unit of `_time` is passed over or out
        self._flags: list[int] = []
        self._size = 0
        self._is_out = False
        self._is_short = False  # it was out when more of it came
        self._is_marked = False  # the newest packet of the unit had the marker bit
        self._markers = _NO_MARKERS
        self._gap = _GAP  # a first packet may be from the middle of a unit
        self._looked_size = 0  # the unit's size when `settle` last found that it had grown,
        self._looked_ns = 0  # when that was,
        self._is_quiet = False  # and whether it has lacked its end for long since

    @property
    def is_open(self) -> bool:
        """Whether a unit is under way."""
        return bool(self._pieces)

    @property
    def is_awaited(self) -> bool:
        """Whether a unit is under way that is likely to be whole soon."""
        return bool(self._pieces) and not (self._is_quiet and self._looked_size == self._size)

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Take the next packet; return the unit that it shows to be whole. Raises PayloadError."""
        try:
            flags, piece = self._parse(packet.payload)
        except PayloadError as error:
            if not packet.payload:
                return None
            error.unit = self._refuse(packet)
            raise
        if packet.timestamp != self._time or (flags & PICTURE and self._is_another_picture()):
            return self._begin(packet, flags, piece)
        if packet.marker or self._is_marked:
            self._note_marker(packet.marker)
        pieces = self._pieces
        if not pieces:
            self._pass_over()
            if self._is_out:
                raise PayloadError("a packet of a unit that is out")
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
        return self._complete() if flags & SURE_END else None

    def lost(self, count: int) -> None:
        """Drop the unit under way, if it is one that the `count` missing packets may belong to."""
        if self._pieces and not self._has_ended():
            self._drop()
        is_last = (
            count == 1
            and self._markers == _END_MARKERS
            and not (self._is_marked or self._is_out)
            and self._gap == _NO_GAP
        )
        self._gap = _KNOWN_GAP if is_last and not self._pieces else _GAP

    def discontinuity(self) -> None:
        """Drop the current unit unless it has ended: packets of it, and of the next one, may be missing."""
        if self._pieces and not self._has_ended():
            self._drop()
        self._gap = _GAP

    def expire(self, now_ns: int) -> AccessUnit | None:
        """Return the unit under way if nothing has followed it for long; to be called now and then.

        A unit that turns out to be none is dropped without an error.
        """
        if not self._pieces:
            return None
        if self._looked_size != self._size:
            self._looked_size, self._looked_ns, self._is_quiet = self._size, now_ns, False
            return None
        has_ended = self._has_ended()
        if now_ns - self._looked_ns < (MARKED_NS if has_ended else UNMARKED_NS):
            return None
        if self._markers == _END_MARKERS and not has_ended:
            self._is_quiet = True
            return None
        return self._complete_silently()

    def flush(self) -> AccessUnit | None:
        """Return the unit under way if it is whole. Without a marker bit it is, of senders that do without them."""
        if self._pieces and self._markers == _END_MARKERS and not self._has_ended():
            self._drop()
        return self._complete_silently() if self._pieces else None

    def _has_ended(self) -> bool:
        """Whether the unit under way has come to an end, as far as it tells itself."""
        return bool(self._flags[-1] & SURE_END) or (self._is_marked and self._markers != _EARLY_MARKERS)

    def _is_another_picture(self) -> bool:
        """Whether a picture that begins at the same time is another one than that of the unit."""
        return self._is_out or (self._is_marked and any(flag & PICTURE for flag in self._flags))

    def _note_marker(self, marker: bool) -> None:
        """Learn of a packet of the unit under way with a marker bit, or behind one."""
        if self._is_marked:
            self._markers = _EARLY_MARKERS
            if self._gap != _NO_GAP and self._pieces:  # the missing packets were of this unit
                self._drop()
        elif self._markers == _NO_MARKERS:
            self._markers = _END_MARKERS
        self._is_marked = marker

    def _pass_over(self) -> None:
        """Pass over a packet whose unit was dropped or is out, which then came out too short."""
        self._gap = _NO_GAP
        if self._is_out and not self._is_short:
            self._is_short = True
            self.dropped_units += 1

    def _begin(self, packet: RtpPacket, flags: int, piece: bytes) -> AccessUnit | None:
        """Begin the packet's unit; the one under way is whole now."""
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

    def _refuse(self, packet: RtpPacket) -> AccessUnit | None:
        """Pass over the unit of a packet that cannot be read; return the one before it."""
        if packet.timestamp == self._time:
            if packet.marker or self._is_marked:
                self._note_marker(packet.marker)
            if self._pieces:
                self._drop()
            self._pass_over()
            return None
        previous = self._replace(packet)
        self.dropped_units += 1
        return self._finish(*previous) if previous is not None else None

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
        self._looked_size = 0
        self._is_out = self._is_short = False
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
        self._is_out = True
        return self._finish(self._time or 0, self._arrival_ns, pieces, flags)

    def _complete_silently(self) -> AccessUnit | None:
        """Give the unit under way at a moment when there is nobody to take an error; count what is none."""
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
