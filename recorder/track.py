"""One source's way from packets off the wire to access units for the file.

unwrap > reorder > depacketizer > key frame gate. A frame that depends on what was lost is not given out: after a
loss the gate is closed until the next key frame, which is asked for at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.codecs.table import Codec
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.feedback import KeyframeRequests, due_nacks
from rokuga.recorder.rtp.reorder import Lost, Reorder
from rokuga.recorder.rtp.rtcp import ReportBlock
from rokuga.recorder.rtp.unwrap import Unwrapper

WINDOW_NS: Final[dict[Kind, int]] = {"video": 1000 * NS_PER_MS, "audio": 200 * NS_PER_MS}
"""How long a missing packet is waited for."""

PLI_DELAY_NS: Final = 600 * NS_PER_MS
"""A video packet that is missing for so long will hardly come: a key frame is asked for while it is still waited for,
so that the damage ends about when the wait does. It has been asked for five times by then."""


@dataclass(slots=True)
class TrackStats:
    """What happened to a source's packets and units since it began.

    `late` packets came after they were given up, `duplicate` ones a second time, `repaired` ones when they had been
    asked for. `dropped_units` did not come whole; `undecodable_units` did, and waited in vain for a key frame.
    """

    received_packets: int = 0
    received_bytes: int = 0
    padding_packets: int = 0
    lost_packets: int = 0
    malformed_payloads: int = 0
    nacks: int = 0
    plis: int = 0
    units: int = 0
    keyframes: int = 0
    dropped_units: int = 0
    undecodable_units: int = 0
    duplicate_packets: int = 0
    late_packets: int = 0
    repaired_packets: int = 0


class Track:
    """The pipeline of one SSRC. Time is that of the packets' arrival; `tick` moves it on where nothing arrives.

    `fmtp` is how the peer describes the codec, `spread_ns` how long key frames that many ask for may be put off.
    """

    __slots__ = (
        "_clock_rate_hz",
        "_depacketizer",
        "_dropped_units",
        "_expected_before",
        "_gate_is_closed",
        "_jitter",
        "_keyframes",
        "_last_sr",
        "_last_sr_ns",
        "_received_before",
        "_reorder",
        "_repairs",
        "_stats",
        "_timestamp",
        "_transit",
        "_transit_of",
        "_write_damaged",
        "codec",
        "is_at_ease",
        "kind",
        "ssrc",
    )

    def __init__(
        self,
        kind: Kind,
        codec: Codec,
        ssrc: int,
        *,
        fmtp: Mapping[str, str] | None = None,
        write_damaged: bool = False,
        spread_ns: int = 0,
    ) -> None:
        self.kind = kind
        self.codec = codec
        self.ssrc = ssrc
        self._stats = TrackStats()
        self._depacketizer: Depacketizer = codec.depacketizer(fmtp or {})
        self._reorder = Reorder(WINDOW_NS[kind])
        self._timestamp = Unwrapper(32)
        self._keyframes = KeyframeRequests(spread_ns)
        self._write_damaged = write_damaged
        self._gate_is_closed = kind == "video"
        self._dropped_units = 0  # of the depacketizer, when the gate was last looked at
        self._clock_rate_hz = codec.clock_rate_hz
        self._repairs = 0  # what came by RTX, which is a stream of its own to RTCP
        self._expected_before = self._received_before = 0
        self._transit: int | None = None
        self._transit_of: int | None = None  # the RTP time that it was measured by
        self._jitter = 0
        self._last_sr = self._last_sr_ns = 0
        self.is_at_ease = True
        """Whether a tick has nothing to do: no packet is held or missing, no key frame wanted."""

    def receive(self, packet: RtpPacket, *, repaired: bool = False) -> Sequence[AccessUnit]:
        """Take a packet with sequence number and timestamp as on the wire; give the units that it completes.

        A retransmission by RTX (RFC 4588) comes in as the packet that it carries, `repaired`. The packet is the
        track's from now on: its numbers are unwrapped in place.
        """
        stats = self._stats
        stats.received_packets += 1
        stats.received_bytes += len(packet.payload)
        if repaired:
            self._repairs += 1
        elif packet.timestamp != self._transit_of:
            self._transit_of = packet.timestamp
            self._measure_jitter(packet)
        now_ns = packet.arrival_ns
        if self._reorder.follows(packet):
            unit = self._depacketize(packet, now_ns)
            return () if unit is None else (unit,)
        units = self._depacketize_all(self._reorder.push(packet, is_repair=repaired), now_ns)
        self._update_idle()
        return units

    def tick(self, now_ns: int) -> Sequence[AccessUnit]:
        """Give up on packets that are missing for too long; give the units that are whole then."""
        reorder = self._reorder
        waiting_since_ns = reorder.waiting_since_ns
        if waiting_since_ns is not None and now_ns - waiting_since_ns >= PLI_DELAY_NS and self.kind == "video":
            self._keyframes.request(now_ns)
        units = self._depacketize_all(reorder.expire(now_ns), now_ns)
        if not reorder.is_holding:  # else what is missing may be of the unit under way
            units += self._settled(now_ns)
        self._update_idle()
        return units

    def flush(self, now_ns: int) -> Sequence[AccessUnit]:
        """Give everything that is whole, as at the end of the stream. The track may go on afterwards."""
        units = self._depacketize_all(self._reorder.flush(), now_ns)
        depacketizer = self._depacketizer
        dropped = depacketizer.dropped_units
        unit = self._passed(depacketizer.flush(), now_ns)
        if unit is not None:
            units.append(unit)
        if depacketizer.dropped_units != dropped:
            depacketizer.lost(0)  # the rest of the unit that was cut off may follow
        return units

    @property
    def stats(self) -> TrackStats:
        """The counters as of now."""
        stats, reorder = self._stats, self._reorder
        stats.duplicate_packets = reorder.duplicates
        stats.late_packets = reorder.late
        stats.repaired_packets = reorder.repaired
        stats.dropped_units = self._depacketizer.dropped_units
        return stats

    def request_keyframe(self, now_ns: int) -> None:
        """Ask for a key frame, for a file that begins: put off a little, as other sources begin as well."""
        if self.kind == "video":
            self._request_keyframe(now_ns, spread=True)

    def wants_keyframe(self, now_ns: int, heard_ns: int | None = None) -> bool:
        """Whether a PLI is to be sent now, to a source that last sent at `heard_ns`."""
        wanted = self._keyframes.is_due(now_ns, 0 if heard_ns is None else now_ns - heard_ns)
        self._stats.plis += wanted
        return wanted

    def nacks(self, now_ns: int) -> list[int]:
        """Give the sequence numbers, as on the wire, to ask for now."""
        missing = self._reorder.missing
        if not missing:
            return []
        due = [sequence & 0xFFFF for sequence in due_nacks(missing, now_ns)]
        self._stats.nacks += len(due)
        return due

    def is_missing(self, sequence: int) -> bool:
        """Whether a packet, its sequence number as on the wire, is waited for."""
        return self._reorder.is_missing(sequence)

    @property
    def has_open_unit(self) -> bool:
        """Whether a unit is under way that may come out soon."""
        return not self._gate_is_closed and self._depacketizer.is_awaited

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when packets are held back for a missing one."""
        return self._reorder.waiting_since_ns

    def unwrap_timestamp(self, rtp_time: int) -> int:
        """Place the RTP time of a sender report among those of this source's units."""
        return self._timestamp.peek(rtp_time)

    def sender_reported(self, ntp_middle: int, now_ns: int) -> None:
        """Remember a sender report for the next report block."""
        self._last_sr, self._last_sr_ns = ntp_middle, now_ns

    def report_block(self, now_ns: int) -> ReportBlock:
        """Say what was received since the last report (RFC 3550 section 6.4.1, appendix A.3)."""
        expected, received = self._reorder.expected, self._stats.received_packets - self._repairs
        expected_now = expected - self._expected_before
        lost_now = expected_now - (received - self._received_before)
        self._expected_before, self._received_before = expected, received
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(255, (lost_now << 8) // expected_now) if expected_now > 0 and lost_now > 0 else 0,
            cumulative_lost=expected - received,
            highest_sequence=max(self._reorder.highest_sequence - 0x10000, 0),
            jitter=self._jitter >> 4,
            last_sr=self._last_sr,
            delay=max(0, now_ns - self._last_sr_ns << 16) // NS_PER_S if self._last_sr else 0,
        )

    def _measure_jitter(self, packet: RtpPacket) -> None:
        """Follow the interarrival jitter in 1/16 units of RTP time (RFC 3550 appendix A.8).

        By the first packet of each RTP time, as libwebrtc does: those of one picture are paced, not delayed.
        """
        transit = packet.arrival_ns // 1000 * self._clock_rate_hz // 1_000_000 - packet.timestamp
        if self._transit is not None:
            distance = abs(transit - self._transit)
            if distance < self._clock_rate_hz:  # a larger one is a wrapped timestamp or a new base
                self._jitter += distance - (self._jitter + 8 >> 4)
        self._transit = transit

    def _depacketize_all(self, in_order: Sequence[RtpPacket | Lost], now_ns: int) -> list[AccessUnit]:
        units: list[AccessUnit] = []
        for item in in_order:
            if isinstance(item, Lost):
                self._stats.lost_packets += item.count
                self._depacketizer.lost(item.count)
                self._close_gate_behind_the_next(now_ns)
                continue
            unit = self._depacketize(item, now_ns)
            if unit is not None:
                units.append(unit)
        return units

    def _depacketize(self, packet: RtpPacket, now_ns: int) -> AccessUnit | None:
        """Give the unit that a packet in order completes, if it can be decoded."""
        packet.timestamp = self._timestamp.unwrap(packet.timestamp)
        if not packet.payload:
            self._stats.padding_packets += 1
            return None
        try:
            unit = self._depacketizer.push(packet)
        except PayloadError as error:
            self._stats.malformed_payloads += 1
            self._dropped_units = -1
            unit = error.unit
        if unit is None and self._dropped_units == self._depacketizer.dropped_units:
            return None
        return self._passed(unit, now_ns)

    def _passed(self, unit: AccessUnit | None, now_ns: int) -> AccessUnit | None:
        """Give a unit that the depacketizer gave if it can be decoded; close the gate if it dropped any.

        What is dropped, or lost, is later than what comes out with it.
        """
        if unit is not None and not self._passes(unit, now_ns):
            unit = None
        dropped_units = self._depacketizer.dropped_units
        if dropped_units != self._dropped_units:
            self._dropped_units = dropped_units
            self._wait_for_keyframe(now_ns)
        return unit

    def _passes(self, unit: AccessUnit, now_ns: int) -> bool:
        """Whether a unit can be decoded."""
        stats = self._stats
        if unit.is_keyframe:
            self._gate_is_closed = False
            stats.keyframes += 1
            self._keyframes.satisfied()
        elif self._gate_is_closed:
            stats.undecodable_units += 1
            self._request_keyframe(now_ns)
            return False
        stats.units += 1
        return True

    def _wait_for_keyframe(self, now_ns: int) -> None:
        if self.kind == "video":
            self._gate_is_closed = self._gate_is_closed or not self._write_damaged
            self._request_keyframe(now_ns)

    def _settled(self, now_ns: int) -> Sequence[AccessUnit]:
        depacketizer = self._depacketizer
        unit = depacketizer.settle(now_ns)
        if unit is None and depacketizer.is_open:
            return ()
        unit = self._passed(unit, now_ns)
        return () if unit is None else (unit,)

    def _close_gate_behind_the_next(self, now_ns: int) -> None:
        """Close the gate for all but the unit that is under way: packets behind it are missing."""
        if self._depacketizer.is_open:
            self._dropped_units = -1
        else:
            self._dropped_units = self._depacketizer.dropped_units
            self._wait_for_keyframe(now_ns)

    def _update_idle(self) -> None:
        self.is_at_ease = not (self._reorder.is_holding or self._keyframes.is_wanted)

    def _request_keyframe(self, now_ns: int, *, spread: bool = False) -> None:
        self._keyframes.request(now_ns, spread=spread)
        self.is_at_ease = False
