"""Decrypted packets in, access units and RTCP out. Sans-I/O: time is an argument, bytes are the answer.

Streams are told apart by SSRC (RFC 3550 section 8), a new one by its payload type, which is unique in our offer
(RFC 9143 section 9.2), so that no mid is needed. A kind has one source at a time; which of several it is, and when
another one takes over, `sources.py` decides. Only the source that is recorded, and one that is to take over, is asked
for key frames and missing packets. RTX streams (RFC 4588) belong to the source that the answer's FID group names, or
else to the one that misses what they carry.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from itertools import dropwhile
from typing import Final

from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind, RtpPacket
from rokuga.recorder.rtp.feedback import KeyframeRequests
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
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from rokuga.recorder.webrtc.sources import SILENT_NS, Source, area_of, elected, may_take_over

REPORT_NS: Final = 500 * NS_PER_MS
"""RR and REMB are sent at this step: libwebrtc needs REMB often to trust it."""

SPREAD_NS: Final = 100 * NS_PER_MS
"""Key frames that many sources are asked for at one moment are asked for over this time."""

MAX_CANDIDATES: Final = 4
"""Sources of a kind that are followed beside the present one; packets of more are dropped."""

FORGOTTEN_NS: Final = 10_000 * NS_PER_MS
"""A source beside the present one is forgotten after this silence: it was the tail of one that was replaced."""

UNSEEN_NS: Final = 500 * NS_PER_MS
"""A peer that has just connected begins with a key frame by itself: only after this is one asked for."""

MAX_COMPOUND_BYTES: Final = 1200
"""What is sent at once; requests that do not fit are made again by later ticks."""

_COUNTERS: Final = tuple(field.name for field in fields(TrackStats))


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
        self._sources: dict[int, Source] = {}
        self._present: dict[Kind, Source] = {}
        self._elected: dict[Kind, Source] = {}
        self._unseen = KeyframeRequests()  # to video of which no packet has come yet
        self._retired: dict[Kind, dict[str, int]] = {kind: {} for kind in media}
        self._unseen_ns = 0  # since when it is asked
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
        if len(self._sources) > len(self._present):
            self._elect(now_ns)
        requests: list[bytes] = []
        for source in list(self._sources.values()):
            track = source.track
            if not track.is_at_ease or track.has_open_unit:
                units = track.tick(now_ns)
                if units:
                    self._give(source, units, now_ns)
                if self._is_asked(source):
                    self._add_requests(source, now_ns, requests)
        if self._unseen.is_wanted:
            self._ask_unseen(now_ns, requests)
        if report_is_due:
            return _compound(self._report(now_ns), requests)
        # A compound begins with a report, also for peers that know no reduced size (RFC 3550 section 6.1).
        return _compound(build_receiver_report(self._own_ssrc, ()), requests) if requests else b""

    def is_idle(self) -> bool:
        """Whether no packet is missing, no key frame wanted and no source in question.

        A tick then has nothing to do that could not wait for 100 ms.
        """
        if len(self._sources) > len(self._present) or self._unseen.is_wanted:
            return False
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
        """Ask for a key frame with the next ticks, however long ago the source has sent anything."""
        source = self._present.get("video")
        if source is not None:
            source.track.request_keyframe(now_ns)
        elif self._unseen_ssrcs():
            self._unseen.request(now_ns)

    def waiting(self) -> Collection[Kind]:
        """Give the kinds whose packets are held back for a missing one, or whose newest unit may lack some."""
        return [
            kind
            for kind, source in self._present.items()
            if source.track.has_open_unit or source.track.waiting_since_ns is not None
        ]

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Give the counters of each kind, over all of its sources."""
        totals = {kind: dict(retired) for kind, retired in self._retired.items()}
        for source in self._present.values():
            _add(totals[source.kind], source)
        return totals

    def _add_requests(self, source: Source, now_ns: int, requests: list[bytes]) -> None:
        """Ask a source for what it lacks."""
        track = source.track
        if track.wants_keyframe(now_ns, source.heard_ns):
            requests.append(build_pli(self._own_ssrc, track.ssrc))
        missing = track.nacks(now_ns) if self._media[source.kind].nack else ()
        if missing:
            requests.append(build_nack(self._own_ssrc, track.ssrc, missing))

    def _unseen_ssrcs(self) -> Sequence[int]:
        """Give the video sources that the peer has announced, without those that only repair."""
        video = self._media.get("video")
        if video is None:
            return ()
        return [ssrc for ssrc in video.ssrcs if ssrc not in video.rtx_ssrcs][:MAX_CANDIDATES]

    def _ask_unseen(self, now_ns: int, requests: list[bytes]) -> None:
        """Ask video of which no packet has come: what it sent may be lost, and it may have nothing new to show."""
        self._unseen_ns = self._unseen_ns or now_ns
        if now_ns - self._unseen_ns < UNSEEN_NS:
            return
        if self._unseen.is_due(now_ns, now_ns - self._unseen_ns):
            requests += [build_pli(self._own_ssrc, ssrc) for ssrc in self._unseen_ssrcs()]

    def _elect(self, now_ns: int) -> None:
        """Look which of the sources is to take over, and ask it for the key frame that it needs for that."""
        for source in self._sources.values():
            source.look(now_ns)
        for kind, present in self._present.items():
            rivals = [source for source in self._sources.values() if source.kind == kind and source is not present]
            chosen = elected(rivals, present, now_ns) if rivals else None
            if chosen is None:
                self._elected.pop(kind, None)
            else:
                self._elected[kind] = chosen
                chosen.track.request_keyframe(now_ns)

    def _is_asked(self, source: Source) -> bool:
        """Whether a source is recorded or about to be: nothing is asked of any other."""
        kind = source.kind
        return source is self._present[kind] or source is self._elected.get(kind)

    def _forget_silent(self, now_ns: int) -> None:
        present = self._present.values()
        for source in list(self._sources.values()):
            if now_ns - source.heard_ns > FORGOTTEN_NS and source not in present:
                del self._sources[source.track.ssrc]
        self._elected.clear()  # the next tick elects anew

    def _new_source(self, packet: RtpPacket, now_ns: int) -> Source | None:
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
        source = self._follow(kind, packet.ssrc, now_ns)
        self._present.setdefault(kind, source)
        if kind == "video":
            self._unseen.satisfied()  # what it sends is judged by itself
        return source

    def _follow(self, kind: Kind, ssrc: int, now_ns: int) -> Source:
        answered = self._media[kind]
        track = Track(
            kind,
            answered.codec,
            ssrc,
            fmtp=answered.format_parameters,
            write_damaged=self._write_damaged,
            spread_ns=self._own_ssrc % SPREAD_NS,
        )
        source = self._sources[ssrc] = Source(kind, answered.payload_type, track, now_ns)
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

    def _repaired_by(self, packet: RtpPacket, kind: Kind) -> Source | None:
        """Give the source that a retransmission is for, None if nobody can tell.

        Where no FID group names one that is asked for anything, it is the only one of these that misses what is
        retransmitted (RFC 4588 section 5.3).
        """
        source = self._sources.get(self._repairs.get(packet.ssrc, -1))
        if source is not None and self._is_asked(source):
            return source
        sequence = int.from_bytes(packet.payload[:2], "big")
        sources = [source for source in self._sources.values() if source.kind == kind]
        asking = [source for source in sources if self._is_asked(source) and source.track.is_missing(sequence)]
        return asking[0] if len(asking) == 1 else None

    def _sender_report(self, report: SenderReport, now_ns: int) -> None:
        source = self._sources.get(report.ssrc)
        if source is None:
            return
        source.track.sender_reported(report.ntp_middle, now_ns)
        if source is self._present.get(source.kind):
            rtp_time = source.track.unwrap_timestamp(report.rtp_time)
            self._on_sender_report(source.kind, report.ntp_ns, rtp_time, now_ns)

    def _give(self, source: Source, units: Sequence[AccessUnit], now_ns: int) -> None:
        """Give units out if they are of the present source, or of one that takes over with them."""
        present = self._present[source.kind]
        if source is not present:
            source.area = area_of(units) or source.area
            units = list(dropwhile(lambda unit: not unit.is_keyframe, units))
            if not units or not may_take_over(source, present, now_ns):
                return
            self._replace(present, source, now_ns)
        for unit in units:
            if unit.width:
                source.area = unit.width * unit.height
            self._on_unit(source.kind, unit)

    def _replace(self, present: Source, source: Source, now_ns: int) -> None:
        """Let a source take over. The one before is a rival from now on, which has been there before this one."""
        kind = source.kind
        for unit in present.track.flush(now_ns):
            self._on_unit(kind, unit)
        _add(self._retired[kind], present)
        self._present[kind] = source
        self._elected.pop(kind, None)
        before = self._follow(kind, present.track.ssrc, now_ns)
        before.first_ns, before.heard_ns, before.area = present.first_ns, present.heard_ns, present.area
        self._on_source_changed(kind)

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


def _add(totals: dict[str, int], source: Source) -> None:
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
