"""A track, the sender at the other end and the network between them, in simulated time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, RtpPacket
from rokuga.recorder.track import Track
from tests.recorder.codecs import packetize

TICK_NS = 20 * NS_PER_MS
FRAME_NS = NS_PER_S // 30
KEYFRAME = bytes.fromhex("100000 9d012a 4001 b400")
DELTA = bytes.fromhex("110000")


def vp8(number: int, *, is_keyframe: bool, packets: int = 3) -> list[bytes]:
    """The payloads of a VP8 frame of 320x180 (RFC 7741); its bytes are like those of no other number."""
    head = KEYFRAME if is_keyframe else DELTA
    body = number.to_bytes(4, "big") * (20 * packets)
    return packetize.vp8(head + body[: 20 * packets - len(head)], size=20)


def frames(count: int, *, keyframes: tuple[int, ...] = (0,), packets: int = 3) -> list[list[bytes]]:
    """The payloads of so many VP8 frames."""
    return [vp8(number, is_keyframe=number in keyframes, packets=packets) for number in range(count)]


def joined(units: list[list[bytes]]) -> list[bytes]:
    """The frames of VP8 payloads."""
    return [b"".join(payload[1:] for payload in unit) for unit in units]


def opus(number: int) -> bytes:
    """An Opus packet of 20 ms, like that of no other number."""
    return b"\xfc" + number.to_bytes(4, "big")


def video(*, write_damaged: bool = False, spread_ns: int = 0) -> Track:
    """A VP8 track."""
    return Track("video", CODECS["VP8"], 1, write_damaged=write_damaged, spread_ns=spread_ns)


def audio() -> Track:
    """An Opus track."""
    return Track("audio", CODECS["OPUS"], 1)


def played(track: Track, packets: Sequence[RtpPacket], *, flush: bool = True) -> list[AccessUnit]:
    """Let packets arrive, none of which is used again, with ticks in between; then end the stream."""
    units: list[AccessUnit] = []
    now_ns = tick_ns = packets[0].arrival_ns
    for packet in packets:
        now_ns = packet.arrival_ns
        while tick_ns < now_ns:
            units += track.tick(tick_ns)
            track.due_nacks(tick_ns)
            track.is_pli_due(tick_ns)
            tick_ns += TICK_NS
        units += track.receive(packet)
    return [*units, *track.flush(now_ns)] if flush else units


def data_of(track: Track, packets: Sequence[RtpPacket]) -> list[bytes]:
    """The same, but only what is in the units."""
    return [unit.data for unit in played(track, packets)]


@dataclass
class Call:
    """A VP8 sender of 30 frames a second that answers NACK by RTX, and PLI after `keyframe_delay_ns` or never.

    `loses(sequence, attempt)` says what the network loses, `plis_lost` how many PLIs it loses at first. The first
    frame is number `first`; key frames of themselves are the `keyframes`. `packets` is how many make a frame.
    """

    track: Track = field(default_factory=video)
    loses: Callable[[int, int], bool] = lambda _sequence, _attempt: False
    keyframe_delay_ns: int | None = 300 * NS_PER_MS
    plis_lost: int = 0
    round_trip_ns: int = 40 * NS_PER_MS
    keyframes: tuple[int, ...] = (0,)
    first: int = 0
    packets: int = 3
    frames: list[bytes] = field(default_factory=list)
    units: list[AccessUnit] = field(default_factory=list)
    plis_ns: list[int] = field(default_factory=list)
    nacked: list[int] = field(default_factory=list)
    _history: dict[int, tuple[RtpPacket, int]] = field(default_factory=dict)
    _keyframe_ns: int | None = None

    def run(self, seconds: float) -> list[int]:
        """Send for so long and repair for a second more; return the numbers of the frames that came out."""
        events: list[tuple[int, int, str, RtpPacket | None]] = []
        order = count()

        def at(time_ns: int, what: str, packet: RtpPacket | None = None) -> None:
            heappush(events, (time_ns, next(order), what, packet))

        end_ns = int(seconds * NS_PER_S) + NS_PER_S
        for number in range(int(seconds * 30)):
            at(number * NS_PER_S // 30, "frame")
        for time_ns in range(0, end_ns, TICK_NS):
            at(time_ns, "tick")
        while events and events[0][0] < end_ns:
            now_ns, _, what, packet = heappop(events)
            if packet is not None:
                self.units += self.track.receive(replace(packet, arrival_ns=now_ns), repaired=what == "repair")
            elif what == "frame":
                for sent in self._frame(now_ns):
                    if not self.loses(sent.sequence, 0):
                        at(now_ns + self.round_trip_ns // 2, "packet", sent)
            else:
                for sequence in self._tick(now_ns):
                    sent, attempts = self._history[sequence]
                    self._history[sequence] = (sent, attempts + 1)
                    if not self.loses(sequence, attempts + 1):
                        at(now_ns + self.round_trip_ns, "repair", sent)
        self.units += self.track.flush(end_ns)
        return [self.frames.index(unit.data) + self.first for unit in self.units]

    def _frame(self, now_ns: int) -> list[RtpPacket]:
        number = len(self.frames) + self.first
        asked = self._keyframe_ns is not None and now_ns >= self._keyframe_ns
        if asked:
            self._keyframe_ns = None
        payloads = vp8(number, is_keyframe=asked or number in self.keyframes, packets=self.packets)
        self.frames.append(b"".join(payload[1:] for payload in payloads))
        packets = []
        for place, payload in enumerate(payloads, 1):
            sequence = len(self._history)
            packet = RtpPacket(96, place == len(payloads), sequence, number * 3000, 1, payload, 0)
            self._history[sequence] = (packet, 0)
            packets.append(packet)
        return packets

    def _tick(self, now_ns: int) -> list[int]:
        self.units += self.track.tick(now_ns)
        if self.track.is_pli_due(now_ns):
            self.plis_ns.append(now_ns)
            if len(self.plis_ns) > self.plis_lost and self.keyframe_delay_ns is not None:
                self._keyframe_ns = self._keyframe_ns or now_ns + self.keyframe_delay_ns
        nacked = self.track.due_nacks(now_ns)
        self.nacked += nacked
        return nacked
