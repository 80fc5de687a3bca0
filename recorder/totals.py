"""Counters of a recorder since its start.

`events` counts stored events by type; `tracks` adds up the counters of ended connections by kind.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_S, Kind
from rokuga.recorder.track import TrackStats

TrackCounters = Mapping[Kind, Mapping[str, int]]


@dataclass(slots=True)
class Totals:
    """`setup_ns` are the nanoseconds from the offer to DTLS, `connected_ns` those from DTLS to the end."""

    sessions_created: int = 0
    sessions_destroyed: int = 0
    connections_created: int = 0
    connections_destroyed: int = 0
    connections_failed: int = 0
    setup_ns: int = 0
    connected_ns: int = 0
    events: Counter[str] = field(default_factory=Counter)
    tracks: dict[Kind, Counter[str]] = field(default_factory=lambda: {"audio": Counter(), "video": Counter()})

    def stored(self, events: Iterable[Event]) -> None:
        """Count events that the store has committed."""
        self.events.update(event.type.value for event in events)

    def connected(self, setup_ns: int) -> None:
        """Count a connection that is up."""
        self.connections_created += 1
        self.setup_ns += setup_ns

    def disconnected(self, was_connected: bool, connected_ns: int, stats: TrackCounters, was_last: bool) -> None:
        """Count a connection that has ended, and add its counters; `was_last` of its channel."""
        self.sessions_destroyed += was_last
        if not was_connected:
            self.connections_failed += 1
            return
        self.connections_destroyed += 1
        self.connected_ns += connected_ns
        for kind, counters in stats.items():
            self.tracks[kind].update(counters)

    def counters(self, present: Iterable[TrackCounters]) -> dict[str, int | Mapping[str, int]]:
        """Return all counters by the names of the daemon's table; `present` as in `by_counter`."""
        return {
            "sessions_created": self.sessions_created,
            "sessions_destroyed": self.sessions_destroyed,
            "connections_created": self.connections_created,
            "connections_destroyed": self.connections_destroyed,
            "connections_failed": self.connections_failed,
            "connection_seconds": self.connected_ns // NS_PER_S,
            "connection_setup_ns": self.setup_ns,
            "events": {event_type.value: self.events[event_type] for event_type in EventType},
            **self.by_counter(present),
        }

    def by_counter(self, present: Iterable[TrackCounters]) -> dict[str, dict[str, int]]:
        """Return the counters of tracks, with those of the connections that are `present`: name > kind > number."""
        sums = {kind: Counter(counters) for kind, counters in self.tracks.items()}
        for stats in present:
            for kind, counters in stats.items():
                sums[kind].update(counters)
        names = [field.name for field in fields(TrackStats)]
        return {name: {str(kind): counters[name] for kind, counters in sums.items()} for name in names}
