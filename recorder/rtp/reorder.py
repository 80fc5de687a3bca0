"""Put packets in order within a bounded time; report those that do not arrive as lost.

The window is not a delay: only packets behind a missing one are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.unwrap import difference, nearest

FIRST_HOLD_NS: Final = 20 * NS_PER_MS
FIRST_HOLD_PACKETS: Final = 3
"""The first packets of a stream are held for this time or up to this number: an earlier one may be late."""

MAX_JUMP: Final = 3000
"""A larger step of the sequence number, either way, is a restart of the sender (RFC 3550 A.1, MAX_DROPOUT)."""

STANDSTILL_NS: Final = 2000 * NS_PER_MS
"""Old sequence numbers that arrive when no new one has for this long are of a restarted sender as well."""

MAX_HOLE: Final = 1000
"""The longest run of missing packets that is waited for: no sender stores more, and resending them would choke it."""

MAX_SPAN: Final = 8192
"""The most sequence numbers from the first missing packet to the newest. Bounds the memory."""

REORDER_TOLERANCE_NS: Final = 10 * NS_PER_MS
"""How long a missing packet is not asked for: it may only have been overtaken."""

_CYCLE: Final = 1 << 16


@dataclass(slots=True)
class Missing:
    """A missing packet: since when, when it is to be requested next, and how often it was."""

    since_ns: int
    due_ns: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """`count` packets at this place of the stream did not arrive in time."""

    count: int


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The sender has restarted: how many packets are missing at this place is unknown."""


InOrder = Sequence[RtpPacket | Lost | Discontinuity]
_NOTHING: InOrder = ()


class ReorderBuffer:
    """Orders one source's packets and unwraps their sequence numbers. Times are ns of the packets' arrival clock.

    `missing` are the packets that are waited for, in the order of the stream. A packet that arrives after it was
    declared lost is `late`, one that arrives again is a duplicate; `repaired` ones arrived after they were requested,
    or as a retransmission.

    A missing packet that arrives gets the arrival time of the one that overtook it: how long its repair took does not
    show when it was sent.
    """

    __slots__ = (
        "_advanced_ns",
        "_base",
        "_candidate",
        "_candidate_highest",
        "_expected_before",
        "_held",
        "_lost",
        "_next",
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
        self._lost: set[int] = set()
        self._advanced_ns = 0  # when the highest sequence number last grew
        self._candidate: RtpPacket | None = None  # the last restart candidate
        self._candidate_highest = 0
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
        """Since when packets are held back behind the first missing one, None if none is missing."""
        for missing in self.missing.values():
            return missing.since_ns
        return None

    @property
    def is_holding(self) -> bool:
        """Whether packets are held back: behind a missing one, or as the first ones. If not, none is missing."""
        return bool(self._held)

    @property
    def expected(self) -> int:
        """How many packets the sender sent by their sequence numbers (RFC 3550 appendix A.3), across restarts."""
        return self._expected_before + (self.highest_sequence - self._base + 1 if self._next is not None else 0)

    def is_missing(self, sequence: int) -> bool:
        """Return whether a packet, by its sequence number on the wire, is waited for."""
        return nearest(sequence, self.highest_sequence, _CYCLE) in self.missing

    def accept_next(self, packet: RtpPacket) -> bool:
        """Unwrap and accept a packet if it is the next one and none is held, as nearly always; else return False."""
        expected = self._next
        if expected is None or packet.sequence != expected & 0xFFFF or self._held:
            return False
        packet.sequence = self.highest_sequence = expected
        self._next = expected + 1
        self._advanced_ns = packet.arrival_ns
        return True

    def push(self, packet: RtpPacket, *, is_repair: bool = False) -> InOrder:
        """Add a packet as received, `is_repair` if by RTX; return what is in order now."""
        if self._next is None:
            return self._push_first(packet)
        if self.accept_next(packet):
            return (packet,)
        sequence = nearest(packet.sequence, self.highest_sequence, _CYCLE)
        if self._is_restart_candidate(sequence, packet.arrival_ns):
            return _NOTHING if is_repair else self._check_restart(packet)
        packet.sequence = sequence
        return self._place(packet, is_repair=is_repair)

    def expire(self, now_ns: int) -> InOrder:
        """Declare lost what is missing for longer than the window; return what is in order then."""
        if self._next is None:
            for first in self._held.values():
                return self._start() if now_ns - first.arrival_ns >= FIRST_HOLD_NS else _NOTHING
        end = None
        for sequence, missing in self.missing.items():
            if now_ns - missing.since_ns < self._window_ns:
                break
            end = sequence + 1
        return _NOTHING if end is None else self._declare_lost(end)

    def flush(self) -> InOrder:
        """Return all held packets; those missing in between are lost. The stream may continue."""
        settled = self._start() if self._next is None and self._held else _NOTHING
        return [*settled, *self._declare_lost(self.highest_sequence + 1)] if self._held else settled

    def _push_first(self, packet: RtpPacket) -> InOrder:
        """Hold the first packets until the earliest of them is known."""
        held = self._held
        if not held:
            packet.sequence += (self.highest_sequence // _CYCLE + 1) * _CYCLE
            held[packet.sequence] = packet
            return _NOTHING
        first = next(iter(held.values()))
        sequence = nearest(packet.sequence, first.sequence, _CYCLE)
        if abs(sequence - first.sequence) > MAX_JUMP:
            settled = self._start()
            return [*settled, *self.push(packet)]
        if sequence in held:
            self.duplicates += 1
            return _NOTHING
        packet.sequence = sequence
        held[sequence] = packet
        if len(held) < FIRST_HOLD_PACKETS and packet.arrival_ns - first.arrival_ns < FIRST_HOLD_NS:
            return _NOTHING
        return self._start()

    def _start(self) -> InOrder:
        """Start the stream at the earliest held packet."""
        first, *rest = [self._held[sequence] for sequence in sorted(self._held)]
        self._held.clear()
        self._base = self.highest_sequence = first.sequence
        self._next = first.sequence + 1
        self._advanced_ns = first.arrival_ns
        in_order: list[RtpPacket | Lost | Discontinuity] = [first]
        for packet in rest:
            in_order += self._place(packet)
        return in_order

    def _is_restart_candidate(self, sequence: int, arrival_ns: int) -> bool:
        """Return whether a packet is too far from the stream to have been overtaken or to follow a loss."""
        if sequence > self.highest_sequence:
            return sequence - self.highest_sequence > MAX_JUMP
        if sequence in self.missing:
            return False
        is_far = self._next is not None and self._next - sequence > MAX_JUMP
        return is_far or arrival_ns - self._advanced_ns > STANDSTILL_NS

    def _check_restart(self, packet: RtpPacket) -> InOrder:
        """Restart the stream at the second of two candidates that are near to each other, with none of it between.

        RFC 3550 A.1 requires two in sequence; here their order does not matter, and both are kept.
        """
        candidate, self._candidate = self._candidate, packet
        self.late += 1
        if candidate is None or self._candidate_highest != self.highest_sequence:
            self._candidate_highest = self.highest_sequence
            return _NOTHING
        if not 0 < abs(difference(packet.sequence, candidate.sequence, _CYCLE)) <= MAX_JUMP:
            return _NOTHING
        in_order = [*self.flush(), Discontinuity()]
        self._expected_before = self.expected
        self.late -= 2
        self.restarts += 1
        self.highest_sequence += _CYCLE  # the new stream is later than the old one, whatever its first packet
        self._next = self._candidate = None
        self._lost.clear()
        in_order += self._push_first(candidate)
        in_order += self._push_first(packet)
        return in_order

    def _place(self, packet: RtpPacket, *, is_repair: bool = False) -> InOrder:
        """Store an unwrapped packet; return what is in order now."""
        sequence = packet.sequence
        missing = self.missing.pop(sequence, None)
        if missing is None and sequence <= self.highest_sequence:
            self._count_unneeded(sequence)
            return _NOTHING
        if missing is not None:
            self.repaired += is_repair or missing.tries > 0
            packet.arrival_ns = min(packet.arrival_ns, missing.since_ns)
        else:
            begin, self.highest_sequence = self.highest_sequence + 1, sequence
            self._advanced_ns = packet.arrival_ns
            if sequence - begin > MAX_HOLE:
                before = self._declare_lost(begin)
                self._next = sequence + 1
                return [*before, Lost(sequence - begin), packet]
            due_ns = packet.arrival_ns + REORDER_TOLERANCE_NS
            for absent in range(begin, sequence):
                self.missing[absent] = Missing(packet.arrival_ns, due_ns)
        self._held[sequence] = packet
        if sequence == self._next:
            return self._drain()
        too_old = self.highest_sequence - MAX_SPAN
        return self._declare_lost(too_old + 1) if self._next is not None and self._next <= too_old else _NOTHING

    def _count_unneeded(self, sequence: int) -> None:
        if sequence in self._lost:
            self._lost.remove(sequence)
            self.late += 1
        else:
            self.duplicates += 1

    def _declare_lost(self, end: int) -> InOrder:
        """Declare lost what is missing before `end`; return what is in order then."""
        in_order: list[RtpPacket | Lost | Discontinuity] = []
        lost_sequences = self._lost
        sequence = self._next or 0
        lost = 0
        while sequence < end:
            packet = self._held.pop(sequence, None)
            if packet is None:
                self.missing.pop(sequence, None)
                lost_sequences.add(sequence)
                lost += 1
            else:
                if lost:
                    in_order.append(Lost(lost))
                    lost = 0
                in_order.append(packet)
            sequence += 1
        if lost:
            in_order.append(Lost(lost))
        if len(lost_sequences) > MAX_SPAN:
            self._lost = {old for old in lost_sequences if old > sequence - MAX_SPAN}
        self._next = sequence
        in_order += self._drain()
        return in_order

    def _drain(self) -> InOrder:
        """Remove and return the held packets that follow without a gap."""
        in_order: list[RtpPacket | Lost | Discontinuity] = []
        sequence = self._next or 0
        held = self._held
        while (packet := held.pop(sequence, None)) is not None:
            in_order.append(packet)
            sequence += 1
        self._next = sequence
        return in_order
