"""Decrypted packets in, access units and RTCP out. Sans-I/O: time is an argument, bytes are the answer.

Streams are told apart by SSRC (RFC 3550 section 8), a new one by its payload type, which is unique in our offer
(RFC 9143 section 9.2), so that no mid is needed. A kind has one source at a time. A new SSRC of the kind
(replaceTrack, a restart, another layer) takes over with a key frame, if it appeared after the present source or if
that has fallen silent. RTX streams (RFC 4588) belong to the source that the answer's FID group names, or else to the
one that misses what they carry.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import dropwhile
from typing import Final

from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.packet import RtpError, parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import (
    RtcpError,
    build_nack,
    build_pli,
    build_receiver_report,
    build_remb,
    parse_rtcp,
)
from rokuga.recorder.rtp.sender_report import SenderReport
from rokuga.recorder.track import Track, TrackStats
from rokuga.recorder.webrtc.sdp import AnsweredMedia

REPORT_NS: Final = 500 * NS_PER_MS
"""RR and REMB are sent at this step: libwebrtc needs REMB often to trust it."""

SPREAD_NS: Final = 100 * NS_PER_MS
"""Key frames that many sources are asked for at one moment are asked for over this time."""

SETTLED_NS: Final = 1000 * NS_PER_MS
"""A source that appears this long after the present one is its successor."""

SILENT_NS: Final = 200 * NS_PER_MS
"""The present source gives way to any other after this silence."""

MAX_CANDIDATES: Final = 4
"""Sources of a kind that are followed beside the present one; packets of more are dropped."""

FORGOTTEN_NS: Final = 2000 * NS_PER_MS
"""A source beside the present one is forgotten after this silence: it was the tail of one that was replaced."""

MAX_COMPOUND_BYTES: Final = 1200
"""What is sent at once; requests that do not fit are made again by later ticks."""

_COUNTERS: Final = tuple(field.name for field in fields(TrackStats))


class _Source:
    """One SSRC of a kind."""

    __slots__ = ("first_ns", "heard_ns", "kind", "payload_type", "track")

    def __init__(self, kind: Kind, payload_type: int, track: Track, now_ns: int) -> None:
        self.kind = kind
        self.payload_type = payload_type
        self.track = track
        self.first_ns = self.heard_ns = now_ns


class Receiver:
    """One peer's media. Hooks are called synchronously from `rtp`, `rtcp`, `tick` and `flush`.

    `on_sender_report(kind, ntp_ns, rtp_time, arrival_ns)` gives the RTP time unwrapped, of the present source only.
    `on_source_changed(kind)` comes between the last unit of the old source and the first one of the new.
    """

    def __init__(
        self,
        media: Mapping[Kind, AnsweredMedia],
        *,
        own_ssrc: int,
        remb_bps: int,
        on_unit: Callable[[Kind, AccessUnit], None],
        on_sender_report: Callable[[Kind, int, int, int], None],
        on_source_changed: Callable[[Kind], None],
        write_damaged: bool = False,
    ) -> None:
        self._media = media
        self._own_ssrc = own_ssrc
        self._remb_bps = remb_bps
        self._on_unit = on_unit
        self._on_sender_report = on_sender_report
        self._on_source_changed = on_source_changed
        self._write_damaged = write_damaged
        self._kind_of = {answered.payload_type: kind for kind, answered in media.items()}
        self._kind_of_rtx = {
            answered.rtx_payload_type: kind
            for kind, answered in media.items()
            if answered.rtx_payload_type is not None
        }
        self._repairs = {rtx: ssrc for answered in media.values() for rtx, ssrc in answered.rtx_ssrcs.items()}
        self._sources: dict[int, _Source] = {}
        self._present: dict[Kind, _Source] = {}
        self._retired: dict[Kind, dict[str, int]] = {kind: {} for kind in media}
        self._report_due_ns = 0
        self.dropped_packets = 0

    def rtp(self, data: bytes, now_ns: int) -> None:
        """Take one decrypted RTP packet; whatever is none of this peer's media is counted and dropped."""
        try:
            packet = parse_rtp(data, now_ns)
        except RtpError:
            self.dropped_packets += 1
            return
        source = self._sources.get(packet.ssrc)
        if source is None or source.payload_type != packet.payload_type:
            if packet.payload_type in self._kind_of_rtx:
                self._retransmitted(packet, now_ns)
                return
            source = self._new_source(packet, now_ns) if source is None else None
            if source is None:
                self.dropped_packets += 1
                return
        source.heard_ns = now_ns
        units = source.track.receive(packet)
        if units:
            self._give(source, units, now_ns)

    def rtcp(self, data: bytes, now_ns: int) -> None:
        """Take one decrypted compound RTCP packet; of a publisher's, sender reports matter."""
        try:
            messages = parse_rtcp(data, only_reports=True)
        except RtcpError:
            self.dropped_packets += 1
            return
        for message in messages:
            if isinstance(message, SenderReport):
                self._sender_report(message, now_ns)

    def tick(self, now_ns: int) -> bytes:
        """Give up on what is late; give the RTCP that is due, b"" if none is."""
        report_is_due = now_ns >= self._report_due_ns
        if report_is_due:
            self._report_due_ns = now_ns + REPORT_NS
            self._forget_silent(now_ns)
        elif self.is_at_ease():
            return b""
        requests = [
            request
            for source in list(self._sources.values())
            if not source.track.is_at_ease
            for request in self._requests(source, now_ns)
        ]
        if report_is_due:
            return _compound(self._report(now_ns), requests)
        # A compound begins with a report, also for peers that know no reduced size (RFC 3550 section 6.1).
        return _compound(build_receiver_report(self._own_ssrc, ()), requests) if requests else b""

    def is_at_ease(self) -> bool:
        """Whether no packet is missing and no key frame wanted, so that a tick has nothing to do but to report."""
        for source in self._sources.values():  # noqa: SIM110  # a generator costs more than all that it looks at
            if not source.track.is_at_ease:
                return False
        return True

    def flush(self, now_ns: int) -> None:
        """Give out every unit that is whole, as at the end of the stream; packets may follow all the same."""
        for source in list(self._present.values()):
            for unit in source.track.flush(now_ns):
                self._on_unit(source.kind, unit)

    def request_keyframe(self, now_ns: int) -> None:
        """Ask for a key frame with the next ticks."""
        for source in self._sources.values():
            source.track.request_keyframe(now_ns)

    def waiting(self) -> Collection[Kind]:
        """Give the kinds whose packets are held back for a missing one."""
        return [kind for kind, source in self._present.items() if source.track.waiting_since_ns is not None]

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Give the counters of each kind, over all of its sources."""
        totals = {kind: dict(retired) for kind, retired in self._retired.items()}
        for source in self._present.values():
            _add(totals[source.kind], source)
        return totals

    def _requests(self, source: _Source, now_ns: int) -> Iterator[bytes]:
        """Give up on what is late of a source; ask for what is missing."""
        track = source.track
        units = track.tick(now_ns)
        if units:
            self._give(source, units, now_ns)
        if track.wants_keyframe(now_ns):
            yield build_pli(self._own_ssrc, track.ssrc)
        missing = track.nacks(now_ns) if self._media[source.kind].nack else ()
        if missing:
            yield build_nack(self._own_ssrc, track.ssrc, missing)

    def _forget_silent(self, now_ns: int) -> None:
        present = self._present.values()
        for source in list(self._sources.values()):
            if now_ns - source.heard_ns > FORGOTTEN_NS and source not in present:
                del self._sources[source.track.ssrc]

    def _new_source(self, packet: RtpPacket, now_ns: int) -> _Source | None:
        """Follow an SSRC that was not seen before; the first of a kind is its present source."""
        kind = self._kind_of.get(packet.payload_type)
        if kind is None:
            return None
        rivals = [source for source in self._sources.values() if source.kind == kind]
        if len(rivals) > MAX_CANDIDATES:
            oldest = min(rivals, key=lambda rival: rival.heard_ns)
            if oldest is self._present.get(kind) or now_ns - oldest.heard_ns < SILENT_NS:
                return None
            del self._sources[oldest.track.ssrc]
        answered = self._media[kind]
        track = Track(
            kind,
            answered.codec,
            packet.ssrc,
            fmtp=answered.format_parameters,
            write_damaged=self._write_damaged,
            spread_ns=self._own_ssrc % SPREAD_NS,
        )
        source = _Source(kind, answered.payload_type, track, now_ns)
        self._sources[packet.ssrc] = source
        self._present.setdefault(kind, source)
        return source

    def _retransmitted(self, packet: RtpPacket, now_ns: int) -> None:
        """Take a retransmission for the source that it repairs; padding that probes the path is for nobody."""
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
            self._give(source, units, now_ns)

    def _repaired_by(self, packet: RtpPacket, kind: Kind) -> _Source | None:
        """Give the source that a retransmission is for, None if nobody can tell.

        Where no FID group names one that is there, it is the only one that misses what is retransmitted (RFC 4588
        section 5.3).
        """
        source = self._sources.get(self._repairs.get(packet.ssrc, -1))
        if source is not None:
            return source
        sequence = int.from_bytes(packet.payload[:2], "big")
        sources = [source for source in self._sources.values() if source.kind == kind]
        asking = [source for source in sources if source.track.is_missing(sequence)]
        return asking[0] if len(asking) == 1 else None

    def _sender_report(self, report: SenderReport, now_ns: int) -> None:
        source = self._sources.get(report.ssrc)
        if source is None:
            return
        source.track.sender_reported(report.ntp_middle, now_ns)
        if source is self._present.get(source.kind):
            rtp_time = source.track.unwrap_timestamp(report.rtp_time)
            self._on_sender_report(source.kind, report.ntp_ns, rtp_time, now_ns)

    def _give(self, source: _Source, units: Sequence[AccessUnit], now_ns: int) -> None:
        """Give units out if they are of the present source, or of one that takes over with them."""
        present = self._present[source.kind]
        if source is not present:
            if not self._takes_over(source, present, now_ns):
                return
            units = list(dropwhile(lambda unit: not unit.is_keyframe, units))
            if not units:  # its key frame came before its time
                source.track.request_keyframe(now_ns)
                return
            self._replace(present, source, now_ns)
        for unit in units:
            self._on_unit(source.kind, unit)

    def _replace(self, present: _Source, source: _Source, now_ns: int) -> None:
        kind = source.kind
        for unit in present.track.flush(now_ns):
            self._on_unit(kind, unit)
        _add(self._retired[kind], present)
        del self._sources[present.track.ssrc]
        self._present[kind] = source
        self._on_source_changed(kind)

    @staticmethod
    def _takes_over(source: _Source, present: _Source, now_ns: int) -> bool:
        is_successor = source.first_ns - present.first_ns > SETTLED_NS
        return is_successor or now_ns - present.heard_ns > SILENT_NS

    def _report(self, now_ns: int) -> bytes:
        """RR of the present sources, and REMB over all video that is known."""
        blocks = [source.track.report_block(now_ns) for source in self._present.values()]
        report = build_receiver_report(self._own_ssrc, blocks)
        video = self._media.get("video")
        if video is None:
            return report
        source = self._present.get("video")
        ssrcs = (source.track.ssrc,) if source is not None else video.ssrcs
        return report + build_remb(self._own_ssrc, self._remb_bps, ssrcs) if ssrcs else report


def _add(totals: dict[str, int], source: _Source) -> None:
    stats = source.track.stats
    for name in _COUNTERS:
        totals[name] = totals.get(name, 0) + getattr(stats, name)


def _compound(report: bytes, requests: Sequence[bytes]) -> bytes:
    """Join a report and the requests that fit."""
    parts, size = [report], len(report)
    for request in requests:
        if size + len(request) <= MAX_COMPOUND_BYTES:
            parts.append(request)
            size += len(request)
    return b"".join(parts)
