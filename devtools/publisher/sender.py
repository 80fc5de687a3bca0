"""Paces a clip onto a peer: units at their time, reports each second, answers to NACK and key frame requests.

Time is an argument; bytes to send are the answer. A drop-in for a live encoder: a request for a key frame makes it
go on at the next key frame of the clip, and RTP time goes on evenly whatever is sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rokuga.devtools.publisher.clip import Clip, ClipTrack
from rokuga.devtools.publisher.packetizer import PACKETIZERS
from rokuga.devtools.publisher.source import Source
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack, RtcpError, parse_rtcp

REPORT_NS: Final = NS_PER_S
FIRST_REPORT_NS: Final = NS_PER_S // 2

FRESH_NS: Final = 500 * NS_PER_MS
"""A key frame that was sent so lately answers a request that comes now."""


@dataclass(slots=True)
class Counts:
    """What was sent, all that was due in the first `media_ns`, and what was asked for.

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
    """Units that follow each other: from the `number`th of the track on, `place` in the clip, `laps_ns` later."""

    number: int
    place: int
    laps_ns: int


def played(track: ClipTrack, clip_ns: int, runs: Sequence[Run], first: int, end: int) -> Iterator[tuple[int, int]]:
    """Give place in the clip and time in ns from the start of the units from number `first` to before `end`."""
    for run, following in zip(runs, [*(run.number for run in runs[1:]), end], strict=True):
        for number in range(max(run.number, first), min(following, end)):
            laps, place = divmod(run.place + number - run.number, len(track.units))
            yield place, run.laps_ns + laps * clip_ns + track.units[place].time_ns


@dataclass(slots=True)
class _Player:
    """One track of the clip on its way: which unit is next, and when, in ns from the start."""

    track: ClipTrack
    source: Source
    place: int = 0
    laps_ns: int = 0
    number: int = 0
    keyframe_ns: int = -FRESH_NS
    runs: list[Run] = field(default_factory=lambda: [Run(0, 0, 0)])

    @property
    def due_ns(self) -> int:
        return self.laps_ns + self.track.units[self.place].time_ns


class Sender:
    """Sends a clip. With `counts.units`, `runs` tell what was sent; see `played`."""

    def __init__(self, clip: Clip, sources: Mapping[Kind, Source], cname: str, *, loop: bool = False) -> None:
        self.counts = Counts()
        self._clip = clip
        self._cname = cname
        self._loop = loop
        self._players = {kind: _Player(clip.tracks[kind], source) for kind, source in sources.items()}
        self.runs: Mapping[Kind, Sequence[Run]] = {kind: player.runs for kind, player in self._players.items()}
        self._by_ssrc = {player.source.ssrc: player for player in self._players.values()}
        self._report_due_ns = FIRST_REPORT_NS

    @property
    def ssrcs(self) -> tuple[int, ...]:
        """The sources, to say goodbye for."""
        return tuple(self._by_ssrc)

    def is_over(self, media_ns: int) -> bool:
        """Whether the clip has ended; it does not, if it is looped."""
        return not self._loop and media_ns >= self._clip.duration_ns

    def packets(self, media_ns: int) -> Iterator[bytes]:
        """Give the RTP packets that are due, `media_ns` after the start."""
        for kind, player in self._players.items():
            while player.place < len(player.track.units) and player.due_ns <= media_ns:
                yield from self._unit(kind, player)
                self._advance(player)
        self.counts.media_ns = media_ns

    def reports(self, media_ns: int, wall_ns: int) -> Iterator[bytes]:
        """Give the sender reports that are due."""
        if media_ns < self._report_due_ns:
            return
        self._report_due_ns += REPORT_NS
        for player in self._players.values():
            yield player.source.report(media_ns, wall_ns, self._cname)

    def feedback(self, data: bytes, media_ns: int) -> Iterator[bytes]:
        """Take the other end's RTCP; give the packets that it asks for again."""
        try:
            messages = parse_rtcp(data)
        except RtcpError:
            return
        for message in messages:
            if isinstance(message, KeyframeRequest):
                self._keyframe(self._by_ssrc.get(message.media_ssrc), media_ns)
            elif isinstance(message, Nack):
                player = self._by_ssrc.get(message.media_ssrc)
                for sequence in message.sequences:
                    packet = player.source.retransmit(sequence) if player is not None else None
                    if packet is not None:
                        self.counts.retransmissions += 1
                        yield packet

    def _unit(self, kind: Kind, player: _Player) -> Iterator[bytes]:
        unit = player.track.units[player.place]
        payloads = PACKETIZERS[player.track.codec_type](player.track, unit, player.number)
        player.number += 1
        if unit.is_keyframe:
            player.keyframe_ns = player.due_ns
        counts = self.counts
        counts.units[kind] += 1
        for packet in player.source.packetize(payloads, player.due_ns):
            counts.packets += 1
            counts.bytes += len(packet)
            yield packet

    def _advance(self, player: _Player) -> None:
        player.place += 1
        if player.place == len(player.track.units) and self._loop:
            player.place = 0
            player.laps_ns += self._clip.duration_ns

    def _keyframe(self, player: _Player | None, media_ns: int) -> None:
        """Go on at the next key frame of the clip, at the time at which the next unit would have come."""
        self.counts.keyframe_requests += 1
        if player is None or media_ns - player.keyframe_ns < FRESH_NS or player.place >= len(player.track.units):
            return
        units = player.track.units
        keyframes = [place for place, unit in enumerate(units) if unit.is_keyframe]
        if not keyframes or units[player.place].is_keyframe:
            return
        due_ns = player.due_ns
        player.place = next((place for place in keyframes if place > player.place), keyframes[0])
        player.laps_ns = due_ns - units[player.place].time_ns
        player.runs.append(Run(player.number, player.place, player.laps_ns))
        self.counts.jumps += 1
