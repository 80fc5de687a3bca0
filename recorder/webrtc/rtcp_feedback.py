"""The RTCP that is sent to one peer: receiver reports, REMB, NACK and PLI. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Kind
from rokuga.recorder.rtp.feedback import KeyframeRequests
from rokuga.recorder.rtp.rtcp import build_nack, build_pli, build_receiver_report, build_remb
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from rokuga.recorder.webrtc.source_selection import MAX_ALTERNATIVES
from rokuga.recorder.webrtc.sources import RtpSource

REPORT_NS: Final = 500 * NS_PER_MS
"""Interval of receiver reports and REMB: libwebrtc ignores a REMB that is not repeated often."""

FIRST_REQUEST_NS: Final = 500 * NS_PER_MS
"""Announced video that has not begun is asked for a key frame after this: an encoder that starts sends one anyway."""

MAX_COMPOUND_BYTES: Final = 1200
"""Limit of one datagram; requests that do not fit are repeated by later ticks."""


class RtcpFeedback:
    """Builds the compound packets for one peer."""

    def __init__(self, media: Mapping[Kind, AnsweredMedia], own_ssrc: int, remb_bps: int) -> None:
        self._media = media
        self._own_ssrc = own_ssrc
        self._remb_bps = remb_bps
        self._report_due_ns = 0
        self._first_keyframe = KeyframeRequests()  # of announced video
        self._first_wanted_ns = 0

    def start_report_if_due(self, now_ns: int) -> bool:
        """Whether a report is due; the next one is REPORT_NS later."""
        if now_ns < self._report_due_ns:
            return False
        self._report_due_ns = now_ns + REPORT_NS
        return True

    @property
    def is_awaiting_video(self) -> bool:
        """Whether a key frame of announced video is wanted of which no packet has arrived."""
        return self._first_keyframe.is_wanted

    def await_video(self, now_ns: int) -> None:
        """Request a key frame of announced video of which no packet has arrived."""
        if self._announced_ssrcs():
            self._first_keyframe.request(now_ns)

    def video_arrived(self) -> None:
        """Stop requesting by announced SSRC: the source that sends requests its key frames itself."""
        self._first_keyframe.keyframe_received()

    def requests_of(self, source: RtpSource, now_ns: int) -> list[bytes]:
        """Return the PLI and NACK that are due for a source."""
        track = source.track
        requests: list[bytes] = []
        if track.is_pli_due(now_ns, source.last_packet_ns):
            requests.append(build_pli(self._own_ssrc, track.ssrc))
        missing = track.due_nacks(now_ns) if self._media[source.kind].nack else ()
        if missing:
            requests.append(build_nack(self._own_ssrc, track.ssrc, missing))
        return requests

    def first_requests(self, now_ns: int) -> list[bytes]:
        """Return the PLI that are due for announced video: its packets may be lost, or its picture may not change."""
        self._first_wanted_ns = self._first_wanted_ns or now_ns
        waited_ns = now_ns - self._first_wanted_ns
        if waited_ns < FIRST_REQUEST_NS or not self._first_keyframe.is_due(now_ns, waited_ns):
            return []
        return [build_pli(self._own_ssrc, ssrc) for ssrc in self._announced_ssrcs()]

    def report(self, active: Mapping[Kind, RtpSource], now_ns: int) -> bytes:
        """Return the receiver report of the active sources, and REMB over the video."""
        blocks = [source.track.report_block(now_ns) for source in active.values()]
        report = build_receiver_report(self._own_ssrc, blocks)
        video = self._media.get("video")
        if video is None:
            return report
        source = active.get("video")
        ssrcs = (source.track.ssrc,) if source is not None else video.ssrcs
        return report + build_remb(self._own_ssrc, self._remb_bps, ssrcs) if ssrcs else report

    def empty_report(self) -> bytes:
        """Return a receiver report without blocks.

        A compound begins with a report also for peers that do not support reduced size (RFC 3550 section 6.1).
        """
        return build_receiver_report(self._own_ssrc, ())

    def _announced_ssrcs(self) -> Sequence[int]:
        """Return the SSRCs of the answer's video, without those of RTX."""
        video = self._media.get("video")
        if video is None:
            return ()
        return [ssrc for ssrc in video.ssrcs if ssrc not in video.rtx_ssrcs][:MAX_ALTERNATIVES]


def compound(report: bytes, requests: Iterable[bytes]) -> bytes:
    """Join a report and the requests that fit into MAX_COMPOUND_BYTES."""
    parts, size = [report], len(report)
    for request in requests:
        if size + len(request) <= MAX_COMPOUND_BYTES:
            parts.append(request)
            size += len(request)
    return b"".join(parts)
