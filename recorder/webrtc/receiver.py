"""Decrypted packets of one peer in, access units and RTCP out. Pure: time is an argument, bytes are the result.

Which source of a kind is recorded, and when another one replaces it, is decided in `sources.py`. RTX streams
(RFC 4588) belong to the source that the answer's FID group names, or else to the one that misses what they carry.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import dropwhile
from typing import Final

from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, MediaSink, RtpPacket
from rokuga.recorder.rtp.packet import RtpError, parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import RtcpError, parse_rtcp
from rokuga.recorder.rtp.sender_report import SenderReport
from rokuga.recorder.webrtc.rtcp_feedback import RtcpFeedback, compound
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from rokuga.recorder.webrtc.source_selection import SourceSelection
from rokuga.recorder.webrtc.sources import RtpSource, area_of, may_replace

SPREAD_NS: Final = 100 * NS_PER_MS
"""Key frames that are requested of many peers at one moment are spread over this time."""


class Receiver:
    """The media of one peer. Its sink is called synchronously from `rtp`, `rtcp`, `tick` and `flush`."""

    def __init__(
        self,
        media: Mapping[Kind, AnsweredMedia],
        sink: MediaSink,
        *,
        own_ssrc: int,
        remb_bps: int,
        write_damaged: bool = False,
    ) -> None:
        self._media = media
        self._sink = sink
        self._on_unit = sink.unit  # bound once: it is called for each unit
        self._kind_of_rtx = {
            answered.rtx_payload_type: kind
            for kind, answered in media.items()
            if answered.rtx_payload_type is not None
        }
        self._repaired_ssrcs = {rtx: ssrc for answered in media.values() for rtx, ssrc in answered.rtx_ssrcs.items()}
        self._selection = SourceSelection(media, spread_ns=own_ssrc % SPREAD_NS, write_damaged=write_damaged)
        self._sources = self._selection.sources
        self._active = self._selection.active
        self._feedback = RtcpFeedback(media, own_ssrc, remb_bps)
        self.dropped_packets = 0

    def rtp(self, data: bytes, now_ns: int) -> None:
        """Receive one decrypted RTP packet; count and drop what is not of this peer's media."""
        try:
            packet = parse_rtp(data, now_ns)
        except RtpError:
            self.dropped_packets += 1
            return
        source = self._sources.get(packet.ssrc)
        if source is None or source.payload_type != packet.payload_type:
            if packet.payload_type in self._kind_of_rtx:
                self._receive_rtx(packet, now_ns)
                return
            source = self._new_source(packet, now_ns) if source is None else None
            if source is None:
                self.dropped_packets += 1
                return
        source.last_packet_ns = now_ns
        units = source.track.receive(packet)
        if units:
            self._pass_on(source, units, now_ns)

    def rtcp(self, data: bytes, now_ns: int) -> None:
        """Receive one decrypted compound RTCP packet; of a publisher's, only sender reports matter."""
        try:
            messages = parse_rtcp(data, only_reports=True)
        except RtcpError:
            self.dropped_packets += 1
            return
        for message in messages:
            if isinstance(message, SenderReport):
                self._sender_report(message, now_ns)

    def tick(self, now_ns: int) -> bytes:
        """Give up packets that are late; return the compound RTCP that is due, b"" for none."""
        selection, feedback = self._selection, self._feedback
        is_report_due = feedback.start_report_if_due(now_ns)
        if is_report_due:
            selection.remove_silent(now_ns)
        if selection.has_alternatives:
            selection.choose_successors(now_ns)
        requests: list[bytes] = []
        for source in list(self._sources.values()):
            track = source.track
            if not track.is_idle or track.has_open_unit:
                units = track.tick(now_ns)
                if units:
                    self._pass_on(source, units, now_ns)
                if selection.is_requested(source):
                    requests += feedback.requests_of(source, now_ns)
        if feedback.is_awaiting_video:
            requests += feedback.first_requests(now_ns)
        if is_report_due:
            return compound(feedback.report(self._active, now_ns), requests)
        return compound(feedback.empty_report(), requests) if requests else b""

    def is_idle(self) -> bool:
        """Whether the next tick can wait: no packet is missing, no key frame wanted, no kind has two sources."""
        if self._selection.has_alternatives or self._feedback.is_awaiting_video:
            return False
        for source in self._sources.values():  # noqa: SIM110  # a generator costs more than the loop
            if not source.track.is_idle:
                return False
        return True

    def flush(self, now_ns: int) -> None:
        """Pass on every complete unit, as at the end of the stream; packets may still follow."""
        for source in list(self._active.values()):
            for unit in source.track.flush(now_ns):
                self._on_unit(source.kind, unit)

    def request_keyframe(self, now_ns: int) -> None:
        """Request a key frame by the next ticks, also of a source that is silent."""
        source = self._active.get("video")
        if source is not None:
            source.track.request_keyframe(now_ns)
        else:
            self._feedback.await_video(now_ns)

    def waiting(self) -> Collection[Kind]:
        """Return the kinds that hold packets back for a missing one, or whose newest unit may be incomplete."""
        return [
            kind
            for kind, source in self._active.items()
            if source.track.has_open_unit or source.track.waiting_since_ns is not None
        ]

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the counters of each kind."""
        return self._selection.stats()

    def _new_source(self, packet: RtpPacket, now_ns: int) -> RtpSource | None:
        source = self._selection.add(packet.ssrc, packet.payload_type, now_ns)
        if source is not None and source.kind == "video":
            self._feedback.video_arrived()
        return source

    def _receive_rtx(self, packet: RtpPacket, now_ns: int) -> None:
        """Receive a retransmission; padding, which probes the bandwidth, is ignored."""
        kind = self._kind_of_rtx[packet.payload_type]
        source = self._repaired_by(packet, kind) if packet.payload else None
        if source is None:
            return
        try:
            original = unwrap_rtx(packet, self._media[kind].payload_type, source.track.ssrc)
        except RtpError:
            self.dropped_packets += 1
            return
        units = source.track.receive(original, repaired=True)
        if units:
            self._pass_on(source, units, now_ns)

    def _repaired_by(self, packet: RtpPacket, kind: Kind) -> RtpSource | None:
        """Return the source that a retransmission is for, None if that is ambiguous.

        Where no FID group names one of the requested sources, it is the only one of them that misses the packet
        (RFC 4588 section 5.3).
        """
        is_requested = self._selection.is_requested
        source = self._sources.get(self._repaired_ssrcs.get(packet.ssrc, -1))
        if source is not None and is_requested(source):
            return source
        sequence = int.from_bytes(packet.payload[:2], "big")
        sources = self._selection.sources_of(kind)
        missing = [each for each in sources if is_requested(each) and each.track.is_missing(sequence)]
        return missing[0] if len(missing) == 1 else None

    def _sender_report(self, report: SenderReport, now_ns: int) -> None:
        source = self._sources.get(report.ssrc)
        if source is None:
            return
        source.track.record_sender_report(report.ntp_middle, now_ns)
        if source is self._active.get(source.kind):
            rtp_time = source.track.unwrap_timestamp(report.rtp_time)
            self._sink.sender_report(source.kind, report.ntp_ns, rtp_time, now_ns)

    def _pass_on(self, source: RtpSource, units: Sequence[AccessUnit], now_ns: int) -> None:
        """Pass units to the sink if their source is active, or becomes active with the first key frame in them."""
        active = self._active[source.kind]
        if source is not active:
            source.area = area_of(units) or source.area
            units = list(dropwhile(lambda unit: not unit.is_keyframe, units))
            if not units or not may_replace(source, active, now_ns):
                return
            for unit in active.track.flush(now_ns):
                self._on_unit(source.kind, unit)
            self._selection.activate(source, now_ns)
            self._sink.source_changed(source.kind)
        for unit in units:
            if unit.width:
                source.area = unit.width * unit.height
            self._on_unit(source.kind, unit)
