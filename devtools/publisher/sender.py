"""Sends a clip like a live encoder: units at their times, sender reports, responses to NACK and PLI. Pure.

Time is an argument, packets are results. After a PLI the next picture is the clip's next key frame, and RTP time
continues evenly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rokuga.devtools.publisher.clip import Clip, ClipTrack
from rokuga.devtools.publisher.packetizer import PACKETIZERS
from rokuga.devtools.publisher.source import OutgoingSource
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack, RtcpError, parse_rtcp

REPORT_NS: Final = NS_PER_S
FIRST_REPORT_NS: Final = NS_PER_S // 2

FRESH_NS: Final = 500 * NS_PER_MS
"""A key frame that is not older than this is the response to a PLI."""


@dataclass(slots=True)
class Counts:
    """What was sent in the first `media_ns`, and what was requested.

    `dropped` are datagrams that were lost on purpose, both ways.
    """

    units: dict[Kind, int] = field(default_factory=lambda: {"audio": 0, "video": 0})
    packets: int = 0
    bytes: int = 0
    dropped: int = 0
    retransmissions: int = 0
    keyframe_requests: int = 0
    jumps: int = 0
    media_ns: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive units of the clip, from unit `number` of the track and `place` in the clip, `laps_ns` later."""

    number: int
    place: int
    laps_ns: int


def played(track: ClipTrack, clip_ns: int, runs: Sequence[Run], first: int, end: int) -> Iterator[tuple[int, int]]:
    """Return place in the clip and time in ns from the start of the units from number `first` to before `end`."""
    for run, following in zip(runs, [*(run.number for run in runs[1:]), end], strict=True):
        for number in range(max(run.number, first), min(following, end)):
            laps, place = divmod(run.place + number - run.number, len(track.units))
            yield place, run.laps_ns + laps * clip_ns + track.units[place].time_ns


@dataclass(slots=True)
class _OutgoingTrack:
    """The position in one track of the clip: which unit is next, and when, in ns from the start."""

    track: ClipTrack
    source: OutgoingSource
    place: int = 0
    laps_ns: int = 0
    number: int = 0
    keyframe_ns: int = -FRESH_NS
    runs: list[Run] = field(default_factory=lambda: [Run(0, 0, 0)])

    @property
    def due_ns(self) -> int:
        return self.laps_ns + self.track.units[self.place].time_ns


class ClipSender:
    """Sends a clip. `counts.units` and `runs` together describe what was sent; see `played`."""

    def __init__(self, clip: Clip, sources: Mapping[Kind, OutgoingSource], cname: str, *, loop: bool = False) -> None:
        self.counts = Counts()
        self._clip = clip
        self._cname = cname
        self._loop = loop
        self._outgoing = {kind: _OutgoingTrack(clip.tracks[kind], source) for kind, source in sources.items()}
        self.runs: Mapping[Kind, Sequence[Run]] = {kind: outgoing.runs for kind, outgoing in self._outgoing.items()}
        self._by_ssrc = {outgoing.source.ssrc: outgoing for outgoing in self._outgoing.values()}
        self._report_due_ns = FIRST_REPORT_NS

    @property
    def ssrcs(self) -> tuple[int, ...]:
        """The SSRCs, for an RTCP BYE."""
        return tuple(self._by_ssrc)

    def is_over(self, media_ns: int) -> bool:
        """Return whether the clip has ended; a looped one never does."""
        return not self._loop and media_ns >= self._clip.duration_ns

    def packets(self, media_ns: int) -> Iterator[bytes]:
        """Return the RTP packets that are due, `media_ns` after the start."""
        for kind, outgoing in self._outgoing.items():
            while outgoing.place < len(outgoing.track.units) and outgoing.due_ns <= media_ns:
                yield from self._unit(kind, outgoing)
                self._advance(outgoing)
        self.counts.media_ns = media_ns

    def reports(self, media_ns: int, wall_ns: int) -> Iterator[bytes]:
        """Return the sender reports that are due."""
        if media_ns < self._report_due_ns:
            return
        self._report_due_ns += REPORT_NS
        for outgoing in self._outgoing.values():
            yield outgoing.source.report(media_ns, wall_ns, self._cname)

    def feedback(self, data: bytes, media_ns: int) -> Iterator[bytes]:
        """Process the recorder's RTCP; return the packets that it requests again."""
        try:
            messages = parse_rtcp(data)
        except RtcpError:
            return
        for message in messages:
            if isinstance(message, KeyframeRequest):
                self._keyframe(self._by_ssrc.get(message.media_ssrc), media_ns)
            elif isinstance(message, Nack):
                outgoing = self._by_ssrc.get(message.media_ssrc)
                for sequence in message.sequences:
                    packet = outgoing.source.retransmit(sequence) if outgoing is not None else None
                    if packet is not None:
                        self.counts.retransmissions += 1
                        yield packet

    def _unit(self, kind: Kind, outgoing: _OutgoingTrack) -> Iterator[bytes]:
        unit = outgoing.track.units[outgoing.place]
        payloads = PACKETIZERS[outgoing.track.codec_type](outgoing.track, unit, outgoing.number)
        outgoing.number += 1
        if unit.is_keyframe:
            outgoing.keyframe_ns = outgoing.due_ns
        counts = self.counts
        counts.units[kind] += 1
        for packet in outgoing.source.packetize(payloads, outgoing.due_ns):
            counts.packets += 1
            counts.bytes += len(packet)
            yield packet

    def _advance(self, outgoing: _OutgoingTrack) -> None:
        outgoing.place += 1
        if outgoing.place == len(outgoing.track.units) and self._loop:
            outgoing.place = 0
            outgoing.laps_ns += self._clip.duration_ns

    def _keyframe(self, outgoing: _OutgoingTrack | None, media_ns: int) -> None:
        """Continue at the clip's next key frame, at the time of the next unit."""
        self.counts.keyframe_requests += 1
        if (
            outgoing is None
            or media_ns - outgoing.keyframe_ns < FRESH_NS
            or outgoing.place >= len(outgoing.track.units)
        ):
            return
        units = outgoing.track.units
        keyframes = [place for place, unit in enumerate(units) if unit.is_keyframe]
        if not keyframes or units[outgoing.place].is_keyframe:
            return
        due_ns = outgoing.due_ns
        outgoing.place = next((place for place in keyframes if place > outgoing.place), keyframes[0])
        outgoing.laps_ns = due_ns - units[outgoing.place].time_ns
        outgoing.runs.append(Run(outgoing.number, outgoing.place, outgoing.laps_ns))
        self.counts.jumps += 1
