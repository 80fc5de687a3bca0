"""The sources of one peer, and which of each kind is active. The rules are in `sources.py`. Pure.

Streams are distinguished by SSRC (RFC 3550 section 8). A new SSRC is assigned to a kind by its payload type, which is
unique in our offer (RFC 9143 section 9.2), so that no mid is needed.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from rokuga.recorder.media import NS_PER_MS, Kind
from rokuga.recorder.track import Track, TrackStats
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia
from rokuga.recorder.webrtc.sources import SILENT_NS, RtpSource, successor_of

MAX_ALTERNATIVES: Final = 4
"""Sources of a kind beside the active one; packets of more are dropped."""

FORGOTTEN_NS: Final = 10_000 * NS_PER_MS
"""An alternative is removed after so long a silence: it was a track that has been replaced."""

_COUNTERS: Final = tuple(field.name for field in fields(TrackStats))


class SourceSelection:
    """The sources by SSRC, and the active one of each kind; both mappings are to be read only."""

    def __init__(self, media: Mapping[Kind, AnsweredMedia], *, spread_ns: int, write_damaged: bool) -> None:
        """`spread_ns` and `write_damaged` are those of each `Track`."""
        self.sources: dict[int, RtpSource] = {}
        self.active: dict[Kind, RtpSource] = {}
        self._media = media
        self._spread_ns = spread_ns
        self._write_damaged = write_damaged
        self._kind_of = {answered.payload_type: kind for kind, answered in media.items()}
        self._successors: dict[Kind, RtpSource] = {}
        self._replaced_stats: dict[Kind, dict[str, int]] = {kind: {} for kind in media}

    @property
    def has_alternatives(self) -> bool:
        """Whether any kind has more than one source."""
        return len(self.sources) > len(self.active)

    def add(self, ssrc: int, payload_type: int, now_ns: int) -> RtpSource | None:
        """Add a new SSRC; the first of a kind is active. Return None if it is not accepted."""
        kind = self._kind_of.get(payload_type)
        if kind is None:
            return None
        others = self.sources_of(kind)
        if len(others) > MAX_ALTERNATIVES:
            oldest = min(others, key=lambda source: source.last_packet_ns)
            if oldest is self.active.get(kind) or now_ns - oldest.last_packet_ns < SILENT_NS:
                return None
            del self.sources[oldest.track.ssrc]
        source = self._new_source(kind, ssrc, now_ns)
        self.active.setdefault(kind, source)
        return source

    def sources_of(self, kind: Kind) -> list[RtpSource]:
        """Return all sources of a kind."""
        return [source for source in self.sources.values() if source.kind == kind]

    def choose_successors(self, now_ns: int) -> None:
        """Choose the successor of each active source, and ask it for the key frame that it needs to replace it."""
        for source in self.sources.values():
            source.observe(now_ns)
        for kind, active in self.active.items():
            alternatives = [source for source in self.sources_of(kind) if source is not active]
            successor = successor_of(active, alternatives, now_ns) if alternatives else None
            if successor is None:
                self._successors.pop(kind, None)
            else:
                self._successors[kind] = successor
                successor.track.request_keyframe(now_ns)

    def is_requested(self, source: RtpSource) -> bool:
        """Whether key frames and missing packets of a source are requested: it is active, or a successor."""
        kind = source.kind
        return source is self.active[kind] or source is self._successors.get(kind)

    def activate(self, source: RtpSource, now_ns: int) -> None:
        """Make a source the active one of its kind. The one before, flushed by the caller, becomes an alternative."""
        kind, before = source.kind, self.active[source.kind]
        _add_stats(self._replaced_stats[kind], before)
        self.active[kind] = source
        self._successors.pop(kind, None)
        renewed = self._new_source(kind, before.track.ssrc, now_ns)
        renewed.first_packet_ns, renewed.last_packet_ns = before.first_packet_ns, before.last_packet_ns
        renewed.area = before.area

    def remove_silent(self, now_ns: int) -> None:
        """Remove alternatives that have sent nothing for FORGOTTEN_NS."""
        active = self.active.values()
        for source in list(self.sources.values()):
            if now_ns - source.last_packet_ns > FORGOTTEN_NS and source not in active:
                del self.sources[source.track.ssrc]
        self._successors.clear()  # they are chosen again by the next tick

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the counters of each kind, over all sources while they were active."""
        totals = {kind: dict(replaced) for kind, replaced in self._replaced_stats.items()}
        for source in self.active.values():
            _add_stats(totals[source.kind], source)
        return totals

    def _new_source(self, kind: Kind, ssrc: int, now_ns: int) -> RtpSource:
        answered = self._media[kind]
        track = Track(
            kind,
            answered.codec,
            ssrc,
            fmtp=answered.format_parameters,
            write_damaged=self._write_damaged,
            spread_ns=self._spread_ns,
        )
        source = self.sources[ssrc] = RtpSource(kind, answered.payload_type, track, now_ns)
        return source


def _add_stats(totals: dict[str, int], source: RtpSource) -> None:
    stats = source.track.stats
    for name in _COUNTERS:
        totals[name] = totals.get(name, 0) + getattr(stats, name)
