"""What was published, unit by unit, and where a stored unit belongs: sync and gaps without decoding anything."""

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rokuga.devtools.publisher.clip import Clip, ClipTrack, ClipUnit
from rokuga.devtools.publisher.sender import Run, played
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind

SEARCH_NS: Final = 1_400 * NS_PER_MS
"""How far from its time a unit is looked for: less than half of the shortest clip, whose units come again then."""

MARK_BYTES: Final = 2


def with_marks(clip: Clip) -> Clip:
    """Give the clip with each Opus packet unlike all others, silence too; how it sounds does not change."""
    tracks = dict(clip.tracks)
    if "audio" in tracks:
        units = [_marked(unit, place) for place, unit in enumerate(tracks["audio"].units)]
        tracks["audio"] = replace(tracks["audio"], units=units)
    return Clip(tracks, clip.duration_ns)


def _marked(unit: ClipUnit, place: int) -> ClipUnit:
    """Write a packet of one frame as one of code 3 with padding, which may be anything (RFC 6716 section 3.2.5)."""
    data = unit.data
    if data[0] & 3:
        return unit
    one_padded_frame = bytes((data[0] | 3, 0x41, MARK_BYTES))
    return replace(unit, data=one_padded_frame + data[1:] + place.to_bytes(MARK_BYTES, "big"))


@dataclass(slots=True)
class SentTrack:
    """One kind of one publication. `times_ns` are from its first packet, `places` in the clip."""

    track: ClipTrack
    clip_ns: int
    runs: list[Run] = field(default_factory=list)
    times_ns: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("l"))
    _by_data: dict[bytes, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, unit in enumerate(self.track.units):
            self._by_data.setdefault(unit.data, []).append(place)

    def grow(self, runs: Sequence[Run], count: int) -> None:
        """Learn that so many units were sent in all, in these runs."""
        self.runs = list(runs)
        for place, time_ns in played(self.track, self.clip_ns, self.runs, len(self.places), count):
            self.places.append(place)
            self.times_ns.append(time_ns)

    def find(self, data: bytes, time_ns: int, after: int) -> int | None:
        """Give the number of the unit with this content: the one behind `after`, else the nearest in time."""
        following = after + 1
        if 0 < following < len(self.places) and self.track.units[self.places[following]].data == data:
            return following
        places = self._by_data.get(data)
        if places is None:
            return None
        near = range(bisect_left(self.times_ns, time_ns - SEARCH_NS), bisect_left(self.times_ns, time_ns + SEARCH_NS))
        found = [number for number in near if self.places[number] in places]
        return min(found, key=lambda number: abs(self.times_ns[number] - time_ns), default=None)


@dataclass(slots=True)
class Publication:
    """One publisher's connection as it was: what it has sent until `until_wall_ns`, and whether that was all."""

    connection_id: str
    channel_id: str
    begin_wall_ns: int
    tracks: Mapping[Kind, SentTrack]
    until_wall_ns: int = 0
    is_over: bool = False

    def covers(self, wall_ns: int) -> bool:
        """Whether all that was sent until then is known."""
        return self.is_over or self.until_wall_ns > wall_ns

    @property
    def seconds(self) -> float:
        """How long it has sent."""
        return (self.until_wall_ns - self.begin_wall_ns) / NS_PER_S


def publication(connection_id: str, channel_id: str, begin_wall_ns: int, clip: Clip) -> Publication:
    """Begin one that sends this clip, all kinds of it."""
    tracks = {kind: SentTrack(track, clip.duration_ns) for kind, track in clip.tracks.items()}
    return Publication(connection_id, channel_id, begin_wall_ns, tracks, begin_wall_ns)
