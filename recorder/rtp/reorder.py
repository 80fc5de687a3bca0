"""Packets back in order, within a window bounded by time; what does not come is said to be lost.

In-order packets take the short way. The window is not a delay: only packets behind a missing one are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.unwrap import difference, nearest

FIRST_HOLD_NS: Final = 20 * NS_PER_MS
FIRST_HOLD_PACKETS: Final = 3
"""The very first packets are held this long or this many, since an earlier one may have been overtaken."""

MAX_JUMP: Final = 3000
"""A larger step of the sequence number, either way, is a sender that started anew (RFC 3550 A.1 MAX_DROPOUT)."""

STANDSTILL_NS: Final = 2000 * NS_PER_MS
"""Old numbers that come while nothing new has come for this long are of a sender that started anew, too."""

MAX_HOLE: Final = 1000
"""Packets that go missing at one place and are waited for. No sender keeps more; to ask for them would choke it."""

MAX_SPAN: Final = 8192
"""Sequence numbers from the first missing packet to the newest: more of them end the wait. Bounds the memory."""

REORDER_TOLERANCE_NS: Final = 10 * NS_PER_MS
"""A missing packet is not asked for before: it may only have been overtaken."""

_CYCLE: Final = 1 << 16


@dataclass(slots=True)
class Missing:
    """A packet that others overtook: since when, when to ask for it (again), how often that was done."""

    since_ns: int
    due_ns: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """`count` packets at this place of the stream will not come; 0 where nobody can tell how many."""

    count: int


InOrder = Sequence[RtpPacket | Lost]
_NOTHING: InOrder = ()


class Reorder:
    """One source's packets, sequence numbers unwrapped here. Times are ns of the packets' arrival clock.

    `missing` has what is waited for, in the order of the stream. A packet that comes after it was given up is
    `late`, one that came before is a duplicate. `repaired` came after it was asked for, or as a retransmission.

    A packet that was missed is given out as if it had arrived with the one that overtook it: how long its repair took
    says nothing about when it was sent.
    """

    __slots__ = (
        "_base",
        "_expected_before",
        "_given_up",
        "_held",
        "_moved_ns",
        "_next",
        "_stray",
        "_stray_highest",
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
        self._next: int | None = None  # None while the first packets are held
        self._held: dict[int, RtpPacket] = {}
        self._given_up: set[int] = set()
        self._moved_ns = 0  # when the stream last went on
        self._stray: RtpPacket | None = None  # too far away to belong to the stream, unless more like it come
        self._stray_highest = 0
        self._base = 0
        self._expected_before = 0
        self.missing: dict[int, Missing] = {}
        self.highest_sequence = _CYCLE - 1
        self.duplicates = 0
        self.late = 0
        self.repaired = 0
        self.restarts = 0

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when packets are held back for the first missing one."""
        for missing in self.missing.values():
            return missing.since_ns
        return None

    @property
    def is_holding(self) -> bool:
        """Whether packets are held back: behind a missing one, or as the first of all. If not, nothing is missing."""
        return bool(self._held)

    @property
    def expected(self) -> int:
        """How many packets the sender sent as far as sequence numbers tell (RFC 3550 appendix A.3), over restarts."""
        return self._expected_before + (self.highest_sequence - self._base + 1 if self._next is not None else 0)

    def is_missing(self, sequence: int) -> bool:
        """Whether a sequence number, as on the wire, is waited for."""
        return nearest(sequence, self.highest_sequence, _CYCLE) in self.missing

    def follows(self, packet: RtpPacket) -> bool:
        """Take a packet as it came if it is the next one and none is held: in order now, as nearly all are."""
        expected = self._next
        if expected is None or packet.sequence != expected & 0xFFFF or self._held:
            return False
        packet.sequence = self.highest_sequence = expected
        self._next = expected + 1
        self._moved_ns = packet.arrival_ns
        return True

    def push(self, packet: RtpPacket, *, is_repair: bool = False) -> InOrder:
        """Take a packet as it came, `is_repair` if by RTX; give what is in order now."""
        if self._next is None:
            return self._begin(packet)
        if self.follows(packet):
            return (packet,)
        sequence = nearest(packet.sequence, self.highest_sequence, _CYCLE)
        if self._is_restart_candidate(sequence, packet.arrival_ns):
            return _NOTHING if is_repair else self._restart_candidates(packet)
        packet.sequence = sequence
        return self._place(packet, is_repair=is_repair)

    def expire(self, now_ns: int) -> InOrder:
        """Give up on what is missing for longer than the window; give what is in order then."""
        if self._next is None:
            for first in self._held.values():
                return self._settle() if now_ns - first.arrival_ns >= FIRST_HOLD_NS else _NOTHING
        end = None
        for sequence, missing in self.missing.items():
            if now_ns - missing.since_ns < self._window_ns:
                break
            end = sequence + 1
        return _NOTHING if end is None else self._give_up(end)

    def flush(self) -> InOrder:
        """Give everything that is held; what is missing in between is lost. The stream may go on."""
        settled = self._settle() if self._next is None and self._held else _NOTHING
        return [*settled, *self._give_up(self.highest_sequence + 1)] if self._held else settled

    def _begin(self, packet: RtpPacket) -> InOrder:
        """Hold the first packets until the earliest of them can be told."""
        held = self._held
        if not held:
            packet.sequence += (self.highest_sequence // _CYCLE + 1) * _CYCLE
            held[packet.sequence] = packet
            return _NOTHING
        first = next(iter(held.values()))
        sequence = nearest(packet.sequence, first.sequence, _CYCLE)
        if abs(sequence - first.sequence) > MAX_JUMP:
            settled = self._settle()
            return [*settled, *self.push(packet)]
        if sequence in held:
            self.duplicates += 1
            return _NOTHING
        packet.sequence = sequence
        held[sequence] = packet
        if len(held) < FIRST_HOLD_PACKETS and packet.arrival_ns - first.arrival_ns < FIRST_HOLD_NS:
            return _NOTHING
        return self._settle()

    def _settle(self) -> InOrder:
        """Begin at the earliest held packet."""
        first, *rest = [self._held[sequence] for sequence in sorted(self._held)]
        self._held.clear()
        self._base = self.highest_sequence = first.sequence
        self._next = first.sequence + 1
        self._moved_ns = first.arrival_ns
        in_order: list[RtpPacket | Lost] = [first]
        for packet in rest:
            in_order += self._place(packet)
        return in_order

    def _is_restart_candidate(self, sequence: int, arrival_ns: int) -> bool:
        """Tell whether a packet is too far from the stream to have been overtaken or to follow a loss."""
        if sequence > self.highest_sequence:
            return sequence - self.highest_sequence > MAX_JUMP
        if sequence in self.missing:
            return False
        is_far = self._next is not None and self._next - sequence > MAX_JUMP
        return is_far or arrival_ns - self._moved_ns > STANDSTILL_NS

    def _restart_candidates(self, packet: RtpPacket) -> InOrder:
        """Believe that the sender started anew when two packets, with none of the stream between, say so.

        RFC 3550 A.1 asks for two in sequence; here they may be near to each other, in any order, and both are kept.
        """
        stray, self._stray = self._stray, packet
        self.late += 1
        if stray is None or self._stray_highest != self.highest_sequence:
            self._stray_highest = self.highest_sequence
            return _NOTHING
        if not 0 < abs(difference(packet.sequence, stray.sequence, _CYCLE)) <= MAX_JUMP:
            return _NOTHING
        in_order = [*self.flush(), Lost(0)]
        self._expected_before = self.expected
        self.late -= 2
        self.restarts += 1
        self.highest_sequence += _CYCLE  # what follows is later than all before, also if it begins with a late packet
        self._next = self._stray = None
        self._given_up.clear()
        in_order += self._begin(stray)
        in_order += self._begin(packet)
        return in_order

    def _place(self, packet: RtpPacket, *, is_repair: bool = False) -> InOrder:
        """Put an unwrapped packet to its place."""
        sequence = packet.sequence
        missing = self.missing.pop(sequence, None)
        if missing is None and sequence <= self.highest_sequence:
            self._came_again(sequence)
            return _NOTHING
        if missing is not None:
            self.repaired += is_repair or missing.tries > 0
            packet.arrival_ns = min(packet.arrival_ns, missing.since_ns)
        else:
            begin, self.highest_sequence = self.highest_sequence + 1, sequence
            self._moved_ns = packet.arrival_ns
            if sequence - begin > MAX_HOLE:
                before = self._give_up(begin)
                self._next = sequence + 1
                return [*before, Lost(sequence - begin), packet]
            due_ns = packet.arrival_ns + REORDER_TOLERANCE_NS
            for absent in range(begin, sequence):
                self.missing[absent] = Missing(packet.arrival_ns, due_ns)
        self._held[sequence] = packet
        if sequence == self._next:
            return self._drain()
        too_old = self.highest_sequence - MAX_SPAN
        return self._give_up(too_old + 1) if self._next is not None and self._next <= too_old else _NOTHING

    def _came_again(self, sequence: int) -> None:
        if sequence in self._given_up:
            self._given_up.remove(sequence)
            self.late += 1
        else:
            self.duplicates += 1

    def _give_up(self, end: int) -> InOrder:
        """Wait no longer for what is missing before `end`."""
        in_order: list[RtpPacket | Lost] = []
        given_up = self._given_up
        sequence = self._next or 0
        lost = 0
        while sequence < end:
            packet = self._held.pop(sequence, None)
            if packet is None:
                self.missing.pop(sequence, None)
                given_up.add(sequence)
                lost += 1
            else:
                if lost:
                    in_order.append(Lost(lost))
                    lost = 0
                in_order.append(packet)
            sequence += 1
        if lost:
            in_order.append(Lost(lost))
        if len(given_up) > MAX_SPAN:
            self._given_up = {old for old in given_up if old > sequence - MAX_SPAN}
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
