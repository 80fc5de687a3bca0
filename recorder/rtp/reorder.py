"""Packets back in order, within a window bounded by time; what does not come is said to be lost.

In-order packets take the short way. The window is not a delay: only packets behind a missing one are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.unwrap import Unwrapper

FIRST_HOLD_NS: Final = 20 * NS_PER_MS
FIRST_HOLD_PACKETS: Final = 3
"""The very first packets are held this long, since an earlier one may have been overtaken."""

MAX_JUMP: Final = 3000
"""A larger step of the sequence number, either way, is a sender that started anew (RFC 3550 A.1 MAX_DROPOUT)."""

MAX_HELD: Final = 8192
"""Packets held at most; more of them end the wait for the first missing one."""

REORDER_TOLERANCE_NS: Final = 10 * NS_PER_MS
"""A missing packet is not asked for before: it may only have been overtaken."""


@dataclass(slots=True)
class Missing:
    """A packet that others overtook: since when, when to ask for it (again), how often that was done."""

    since_ns: int
    due_ns: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """`count` packets at this place of the stream will not come."""

    count: int


InOrder = Sequence[RtpPacket | Lost]
_NOTHING: InOrder = ()


class Reorder:
    """One source's packets, sequence numbers unwrapped here. Times are ns of the packets' arrival clock."""

    __slots__ = (
        "_held",
        "_jump",
        "_next",
        "_sequence",
        "_window_ns",
        "duplicates",
        "highest_sequence",
        "late",
        "missing",
        "repaired",
        "restarts",
    )

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._sequence = Unwrapper(16)
        self._next: int | None = None
        self._held: dict[int, RtpPacket] = {}
        self._jump = -1  # the sequence number on the wire that would confirm that the sender started anew
        self.missing: dict[int, Missing] = {}
        self.highest_sequence = -1
        self.duplicates = 0
        self.late = 0  # after its turn: given up, or a second time
        self.repaired = 0
        self.restarts = 0

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when packets are held back for the first missing one."""
        for missing in self.missing.values():
            return missing.since_ns
        return None

    def push(self, packet: RtpPacket) -> InOrder:
        """Take a packet as it came; give what is in order now."""
        sequence = self._sequence.peek(packet.sequence)
        if sequence == self._next and not self._held:
            self._sequence.unwrap(packet.sequence)
            packet.sequence = self.highest_sequence = sequence
            self._next = sequence + 1
            return (packet,)
        if self._next is None:
            return self._begin(packet)
        if abs(sequence - self._next) > MAX_JUMP:
            return self._jumped(packet)
        self._jump = -1
        self._sequence.unwrap(packet.sequence)
        packet.sequence = sequence
        if sequence < self._next:
            self.late += 1
            return _NOTHING
        if sequence in self._held:
            self.duplicates += 1
            return _NOTHING
        return self._hold(packet)

    def expire(self, now_ns: int) -> InOrder:
        """Give up on what is missing for longer than the window; give what is in order then."""
        if not self.missing:
            if self._next is None and self._held:
                first = next(iter(self._held.values()))
                if now_ns - first.arrival_ns >= FIRST_HOLD_NS:
                    return self._settle()
            return _NOTHING
        given_up = [seq for seq, gap in self.missing.items() if now_ns - gap.since_ns >= self._window_ns]
        return self._give_up(given_up[-1] + 1) if given_up else _NOTHING

    def flush(self) -> InOrder:
        """Give everything that is held; what is missing in between is lost."""
        if self._next is None and self._held:
            settled = list(self._settle())
            return settled + list(self._give_up(self.highest_sequence + 1))
        return self._give_up(self.highest_sequence + 1) if self._held else _NOTHING

    def _begin(self, packet: RtpPacket) -> InOrder:
        """Hold the first packets until the earliest of them can be told."""
        packet.sequence = self._sequence.unwrap(packet.sequence)
        if packet.sequence in self._held:
            self.duplicates += 1
            return _NOTHING
        self._held[packet.sequence] = packet
        self.highest_sequence = max(self._held)
        first = next(iter(self._held.values()))
        if len(self._held) < FIRST_HOLD_PACKETS and packet.arrival_ns - first.arrival_ns < FIRST_HOLD_NS:
            return _NOTHING
        return self._settle()

    def _settle(self) -> InOrder:
        """Begin at the earliest held packet."""
        held = sorted(self._held)
        self._next = held[0]
        since_ns = max(packet.arrival_ns for packet in self._held.values())
        for before, after in pairwise(held):
            self._miss(before + 1, min(after, before + MAX_JUMP), since_ns)
        return self._drain()

    def _jumped(self, packet: RtpPacket) -> InOrder:
        """A step too large for loss or reordering: believed when the next packet follows it."""
        if packet.sequence != self._jump:
            self._jump = packet.sequence + 1 & 0xFFFF
            self.late += 1
            return _NOTHING
        in_order = [*self.flush(), Lost(1)]
        self.restarts += 1
        self._jump = -1
        self._sequence.restart(packet.sequence)
        packet.sequence = self.highest_sequence = self._sequence.unwrap(packet.sequence)
        self._next = packet.sequence + 1
        in_order.append(packet)
        return in_order

    def _hold(self, packet: RtpPacket) -> InOrder:
        """Keep a packet that is ahead of its turn, or take the one that was missing."""
        sequence = packet.sequence
        gap = self.missing.pop(sequence, None)
        if gap is not None:
            self.repaired += gap.tries > 0
        else:
            self._miss(self.highest_sequence + 1, sequence, packet.arrival_ns)
            self.highest_sequence = sequence
        self._held[sequence] = packet
        if sequence == self._next:
            return self._drain()
        if len(self._held) > MAX_HELD:
            return self._give_up(min(self._held))
        return _NOTHING

    def _miss(self, begin: int, end: int, now_ns: int) -> None:
        for sequence in range(begin, end):
            self.missing[sequence] = Missing(now_ns, now_ns + REORDER_TOLERANCE_NS)

    def _give_up(self, end: int) -> InOrder:
        """Wait no longer for what is missing before `end`."""
        in_order: list[RtpPacket | Lost] = []
        sequence = self._next or 0
        lost = 0
        while sequence < end:
            packet = self._held.pop(sequence, None)
            if packet is None:
                self.missing.pop(sequence, None)
                lost += 1
            else:
                if lost:
                    in_order.append(Lost(lost))
                    lost = 0
                in_order.append(packet)
            sequence += 1
        if lost:
            in_order.append(Lost(lost))
        self._next = sequence
        in_order += self._drain()
        return in_order

    def _drain(self) -> InOrder:
        """Give what follows without a gap."""
        in_order: list[RtpPacket | Lost] = []
        sequence = self._next or 0
        held = self._held
        while (packet := held.pop(sequence, None)) is not None:
            in_order.append(packet)
            sequence += 1
        self._next = sequence
        return in_order
