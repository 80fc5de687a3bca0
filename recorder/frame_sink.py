"""Place the units of one peer on the timeline, and pass the frames to the archive that is recording."""

from collections.abc import Callable, Mapping, Sequence

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.timeline import Timeline


class FrameSink:
    """The MediaSink of one connection, called synchronously from the read of the socket.

    `on_frame` receives the frames; while it is None they are dropped. `last_media_ns` is the arrival of the newest
    unit, `sender_reports` counts them since the connection's start.
    """

    __slots__ = ("last_media_ns", "on_frame", "sender_reports", "timeline")

    def __init__(self, clock_rates_hz: Mapping[Kind, int]) -> None:
        self.timeline = Timeline(clock_rates_hz)
        self.on_frame: Callable[[Frame], None] | None = None
        self.last_media_ns = 0
        self.sender_reports: dict[Kind, int] = {"audio": 0, "video": 0}

    def unit(self, kind: Kind, unit: AccessUnit) -> None:
        """Add the next unit of its kind."""
        self.last_media_ns = unit.arrival_ns
        on_frame = self.on_frame
        frames = self.timeline.push(kind, unit)
        if on_frame is not None:
            for frame in frames:
                on_frame(frame)

    def tick(self, now_ns: int) -> None:
        """Pass on the units whose time is known by now."""
        if self.timeline.is_holding:
            self._pass_on(self.timeline.tick(now_ns))

    def flush(self) -> None:
        """Pass on all held units, as at the end of an archive."""
        self._pass_on(self.timeline.flush())

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Add a sender report; see `Timeline`."""
        self.sender_reports[kind] += 1
        self.timeline.sender_report(kind, ntp_ns, rtp_time, arrival_ns)

    def source_changed(self, kind: Kind) -> None:
        """Begin a new source of this kind: its RTP times are unrelated to those before."""
        self._pass_on(self.timeline.source_changed(kind))

    def _pass_on(self, frames: Sequence[Frame]) -> None:
        if self.on_frame is not None:
            for frame in frames:
                self.on_frame(frame)
