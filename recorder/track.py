"""One SSRC, from received packets to access units: unwrap, reorder, depacketize, drop what cannot be decoded.

After a loss a video track waits for a key frame, which is requested at once: no unit is returned before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.depacketizer import Depacketizer, PayloadError
from rokuga.recorder.codecs.table import Codec
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.feedback import KeyframeRequests, select_nacks
from rokuga.recorder.rtp.reorder import InOrder, Lost, ReorderBuffer
from rokuga.recorder.rtp.rtcp import ReportBlock
from rokuga.recorder.rtp.unwrap import Unwrapper

WINDOW_NS: Final[dict[Kind, int]] = {"video": 1000 * NS_PER_MS, "audio": 200 * NS_PER_MS}
"""How long a missing packet is waited for."""

PLI_DELAY_NS: Final = 600 * NS_PER_MS
"""A video packet that is missing for this long, after five requests, will hardly arrive: a key frame is requested
while it is still waited for, so that it arrives about when the wait ends."""


@dataclass(slots=True)
class TrackStats:
    """Counters of a source's packets and units since it began.

    `late` packets arrived after they were declared lost, `duplicate` ones a second time, `repaired` ones after they
    were requested. `dropped_units` were incomplete; `undecodable_units` lacked a key frame before them.
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
    """The pipeline of one SSRC. Time advances by the packets' arrivals, and by `tick` where none arrive.

    `fmtp` are the peer's format parameters of the codec. `spread_ns` is by how much a key frame request is delayed
    when many sources are asked at once.
    """

    __slots__ = (
        "_clock_rate_hz",
        "_depacketizer",
        "_dropped_units",
        "_expected_before",
        "_is_waiting_for_keyframe",
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
        "is_idle",
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
        self._reorder = ReorderBuffer(WINDOW_NS[kind])
        self._timestamp = Unwrapper(32)
        self._keyframes = KeyframeRequests(spread_ns)
        self._write_damaged = write_damaged
        self._is_waiting_for_keyframe = kind == "video"
        self._dropped_units = 0  # of the depacketizer, when `_filter` last ran
        self._clock_rate_hz = codec.clock_rate_hz
        self._repairs = 0  # received by RTX, which is a stream of its own to RTCP
        self._expected_before = self._received_before = 0
        self._transit: int | None = None
        self._transit_of: int | None = None  # the RTP time by which it was measured
        self._jitter = 0
        self._last_sr = self._last_sr_ns = 0
        self.is_idle = True
        """Whether a tick has nothing to do: no packet is held or missing, and no key frame is requested."""

    def receive(self, packet: RtpPacket, *, repaired: bool = False) -> Sequence[AccessUnit]:
        """Add a packet with sequence number and timestamp as on the wire; return the units that it completes.

        A retransmission by RTX (RFC 4588) is passed as the packet that it carries, `repaired`. The packet is changed:
        its numbers are unwrapped in place.
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
        if self._reorder.accept_next(packet):
            unit = self._depacketize(packet, now_ns)
            return () if unit is None else (unit,)
        units = self._depacketize_all(self._reorder.push(packet, is_repair=repaired), now_ns)
        self._update_idle()
        return units

    def tick(self, now_ns: int) -> Sequence[AccessUnit]:
        """Declare packets lost that are missing for too long; return the units that are complete then."""
        reorder = self._reorder
        waiting_since_ns = reorder.waiting_since_ns
        if waiting_since_ns is not None and now_ns - waiting_since_ns >= PLI_DELAY_NS and self.kind == "video":
            self._keyframes.request(now_ns)
        units = self._depacketize_all(reorder.expire(now_ns), now_ns)
        if not reorder.is_holding:  # else a missing packet may belong to the current unit
            units += self._expired_unit(now_ns)
        self._update_idle()
        return units

    def flush(self, now_ns: int) -> Sequence[AccessUnit]:
        """Return all complete units, as at the end of the stream. The track may continue afterwards."""
        units = self._depacketize_all(self._reorder.flush(), now_ns)
        depacketizer = self._depacketizer
        dropped = depacketizer.dropped_units
        unit = self._filter(depacketizer.flush(), now_ns)
        if unit is not None:
            units.append(unit)
        if depacketizer.dropped_units != dropped:
            depacketizer.discontinuity()  # the rest of the dropped unit may follow
        return units

    @property
    def stats(self) -> TrackStats:
        """The current counters."""
        stats, reorder = self._stats, self._reorder
        stats.duplicate_packets = reorder.duplicates
        stats.late_packets = reorder.late
        stats.repaired_packets = reorder.repaired
        stats.dropped_units = self._depacketizer.dropped_units
        return stats

    def request_keyframe(self, now_ns: int) -> None:
        """Request a key frame for a new file, delayed by `spread_ns`, since other sources are asked as well."""
        if self.kind == "video":
            self._request_keyframe(now_ns, spread=True)

    def is_pli_due(self, now_ns: int, last_sent_ns: int | None = None) -> bool:
        """Return whether to send a PLI now to a source that last sent at `last_sent_ns`; it is counted as sent."""
        is_due = self._keyframes.is_due(now_ns, 0 if last_sent_ns is None else now_ns - last_sent_ns)
        self._stats.plis += is_due
        return is_due

    def due_nacks(self, now_ns: int) -> list[int]:
        """Return the sequence numbers, as on the wire, to send a NACK for now; they are counted as sent."""
        missing = self._reorder.missing
        if not missing:
            return []
        due = [sequence & 0xFFFF for sequence in select_nacks(missing, now_ns)]
        self._stats.nacks += len(due)
        return due

    def is_missing(self, sequence: int) -> bool:
        """Return whether a packet, by its sequence number on the wire, is waited for."""
        return self._reorder.is_missing(sequence)

    @property
    def has_open_unit(self) -> bool:
        """Whether the current unit is incomplete and likely to be completed soon."""
        return not self._is_waiting_for_keyframe and self._depacketizer.is_awaited

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when packets are held back for a missing one."""
        return self._reorder.waiting_since_ns

    def unwrap_timestamp(self, rtp_time: int) -> int:
        """Return the RTP time of a sender report, unwrapped as those of this source's units are."""
        return self._timestamp.peek(rtp_time)

    def record_sender_report(self, ntp_middle: int, now_ns: int) -> None:
        """Store a sender report for the next report block."""
        self._last_sr, self._last_sr_ns = ntp_middle, now_ns

    def report_block(self, now_ns: int) -> ReportBlock:
        """Return what was received since the last report block (RFC 3550 section 6.4.1, appendix A.3)."""
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
        """Update the interarrival jitter, in 1/16 units of RTP time (RFC 3550 appendix A.8).

        It is measured by the first packet of each RTP time, as in libwebrtc: the others of a picture are paced.
        """
        transit = packet.arrival_ns // 1000 * self._clock_rate_hz // 1_000_000 - packet.timestamp
        if self._transit is not None:
            distance = abs(transit - self._transit)
            if distance < self._clock_rate_hz:  # a larger one is a wrapped timestamp or a new base
                self._jitter += distance - (self._jitter + 8 >> 4)
        self._transit = transit

    def _depacketize_all(self, in_order: InOrder, now_ns: int) -> list[AccessUnit]:
        units: list[AccessUnit] = []
        for item in in_order:
            if isinstance(item, RtpPacket):
                unit = self._depacketize(item, now_ns)
                if unit is not None:
                    units.append(unit)
                continue
            if isinstance(item, Lost):
                self._stats.lost_packets += item.count
                self._depacketizer.lost(item.count)
            else:
                self._depacketizer.discontinuity()
            self._wait_after_loss(now_ns)
        return units

    def _depacketize(self, packet: RtpPacket, now_ns: int) -> AccessUnit | None:
        """Return the unit that a packet in order completes, if it can be decoded."""
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
        return self._filter(unit, now_ns)

    def _filter(self, unit: AccessUnit | None, now_ns: int) -> AccessUnit | None:
        """Return a unit of the depacketizer if it can be decoded; wait for a key frame if it has dropped units.

        What was dropped is later than the unit that was returned with it.
        """
        if unit is not None and not self._is_decodable(unit, now_ns):
            unit = None
        dropped_units = self._depacketizer.dropped_units
        if dropped_units != self._dropped_units:
            self._dropped_units = dropped_units
            self._wait_for_keyframe(now_ns)
        return unit

    def _is_decodable(self, unit: AccessUnit, now_ns: int) -> bool:
        """Return whether a unit can be decoded."""
        stats = self._stats
        if unit.is_keyframe:
            self._is_waiting_for_keyframe = False
            stats.keyframes += 1
            self._keyframes.keyframe_received()
        elif self._is_waiting_for_keyframe:
            stats.undecodable_units += 1
            self._request_keyframe(now_ns)
            return False
        stats.units += 1
        return True

    def _wait_for_keyframe(self, now_ns: int) -> None:
        if self.kind == "video":
            self._is_waiting_for_keyframe = self._is_waiting_for_keyframe or not self._write_damaged
            self._request_keyframe(now_ns)

    def _expired_unit(self, now_ns: int) -> Sequence[AccessUnit]:
        depacketizer = self._depacketizer
        unit = depacketizer.expire(now_ns)
        if unit is None and depacketizer.is_open:
            return ()
        unit = self._filter(unit, now_ns)
        return () if unit is None else (unit,)

    def _wait_after_loss(self, now_ns: int) -> None:
        """Wait for a key frame, after the current unit if there is one: packets behind it are missing."""
        if self._depacketizer.is_open:
            self._dropped_units = -1
        else:
            self._dropped_units = self._depacketizer.dropped_units
            self._wait_for_keyframe(now_ns)

    def _update_idle(self) -> None:
        self.is_idle = not (self._reorder.is_holding or self._keyframes.is_wanted)

    def _request_keyframe(self, now_ns: int, *, spread: bool = False) -> None:
        self._keyframes.request(now_ns, spread=spread)
        self.is_idle = False
