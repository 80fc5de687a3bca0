"""One peer's units on their way to the file: placed on the timeline, taken by the archive that is under way."""

from collections.abc import Callable, Mapping, Sequence

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.timeline import Timeline


class Feed:
    """Hears what a peer gives, synchronously from the read of the socket. Units that nobody takes only pass by.

    `take` is who takes frames, `last_media_ns` when the newest unit arrived; `sender_reports` counts them since the
    connection's start.
    """

    __slots__ = ("last_media_ns", "sender_reports", "take", "timeline")

    def __init__(self, clock_rates_hz: Mapping[Kind, int]) -> None:
        self.timeline = Timeline(clock_rates_hz)
        self.take: Callable[[Frame], None] | None = None
        self.last_media_ns = 0
        self.sender_reports: dict[Kind, int] = {"audio": 0, "video": 0}

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Take a unit, in the order of its kind."""
        self.last_media_ns = unit.arrival_ns
        take = self.take
        frames = self.timeline.push(kind, unit)
        if take is not None:
            for frame in frames:
                take(frame)

    def tick(self, now_ns: int) -> None:
        """Give out the units whose place in time is known by now."""
        if self.timeline.is_holding:
            self._give(self.timeline.tick(now_ns))

    def flush(self) -> None:
        """Give out every unit, as at the end of an archive."""
        self._give(self.timeline.flush())

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Take a sender report; see `Timeline`."""
        self.sender_reports[kind] += 1
        self.timeline.sender_report(kind, ntp_ns, rtp_time, arrival_ns)

    def source_changed(self, kind: Kind) -> None:
        """Learn that the next unit of this kind is of a new source."""
        self._give(self.timeline.source_changed(kind))

    def _give(self, frames: Sequence[Frame]) -> None:
        if self.take is not None:
            for frame in frames:
                self.take(frame)
