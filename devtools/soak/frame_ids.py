"""The number of each published unit, found in a file by its content: order, gaps and sync without decoding."""

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rokuga.devtools.publisher.clip import Clip, ClipTrack, ClipUnit
from rokuga.devtools.publisher.sender import Run, played
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind

SEARCH_NS: Final = 1_400 * NS_PER_MS
"""A unit is searched for so far from its time: less than half of the shortest clip, after which its units repeat."""

FRAME_ID_BYTES: Final = 2


def with_frame_ids(clip: Clip) -> Clip:
    """Return the clip with each Opus packet made unique, silence included; the decoded sound does not change."""
    tracks = dict(clip.tracks)
    if "audio" in tracks:
        units = [_with_frame_id(unit, place) for place, unit in enumerate(tracks["audio"].units)]
        tracks["audio"] = replace(tracks["audio"], units=units)
    return Clip(tracks, clip.duration_ns)


def _with_frame_id(unit: ClipUnit, place: int) -> ClipUnit:
    """Rewrite a packet of one frame as code 3 with padding, whose bytes are arbitrary (RFC 6716 section 3.2.5)."""
    data = unit.data
    if data[0] & 3:
        return unit
    one_padded_frame = bytes((data[0] | 3, 0x41, FRAME_ID_BYTES))
    return replace(unit, data=one_padded_frame + data[1:] + place.to_bytes(FRAME_ID_BYTES, "big"))


@dataclass(slots=True)
class SentTrack:
    """The sent units of one kind. `times_ns` count from the first packet, `places` are those in the clip."""

    track: ClipTrack
    clip_ns: int
    runs: list[Run] = field(default_factory=list)
    times_ns: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("l"))
    _by_data: dict[bytes, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, unit in enumerate(self.track.units):
            self._by_data.setdefault(unit.data, []).append(place)

    def extend(self, runs: Sequence[Run], count: int) -> None:
        """Add the units up to number `count`, which were sent in these runs."""
        self.runs = list(runs)
        for place, time_ns in played(self.track, self.clip_ns, self.runs, len(self.places), count):
            self.places.append(place)
            self.times_ns.append(time_ns)

    def find(self, data: bytes, time_ns: int, after: int) -> int | None:
        """Return the number of the unit with this content: `after` + 1 if it fits, else the nearest in time."""
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
class SentMedia:
    """Everything that one connection has sent until `until_wall_ns`; `is_over`: it sends no more."""

    connection_id: str
    channel_id: str
    begin_wall_ns: int
    tracks: Mapping[Kind, SentTrack]
    until_wall_ns: int = 0
    is_over: bool = False

    def covers(self, wall_ns: int) -> bool:
        """Return whether everything that was sent until then is known."""
        return self.is_over or self.until_wall_ns > wall_ns

    @property
    def seconds(self) -> float:
        """How long it has sent."""
        return (self.until_wall_ns - self.begin_wall_ns) / NS_PER_S


def empty_sent_media(connection_id: str, channel_id: str, begin_wall_ns: int, clip: Clip) -> SentMedia:
    """Return the record of a connection that is about to send all kinds of this clip."""
    tracks = {kind: SentTrack(track, clip.duration_ns) for kind, track in clip.tracks.items()}
    return SentMedia(connection_id, channel_id, begin_wall_ns, tracks, begin_wall_ns)
