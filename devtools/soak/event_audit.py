"""Checks that every event arrives, arrives once and in order. Pure: deliveries in, faults out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.contract import subject_of_body
from rokuga.webhooks.order import Subject, follows
from rokuga.webhooks.sequence import RecordingSequences

Event = Mapping[str, Any]

MIN_RECORDED_NS: Final = 1_500_000_000
"""A connection that sends for so long during a recording has an archive that did not fail."""


@dataclass(slots=True)
class AuditedRecording:
    """The archive events of each connection of a recording, in order.

    `begin_wall_ns` and `stop_wall_ns` are when the API responded, 0 if it has not.
    """

    channel_id: str = ""
    begin_wall_ns: int = 0
    stop_wall_ns: int = 0
    archives: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    is_reported: bool = False


@dataclass(frozen=True, slots=True)
class SendingInterval:
    """When a connection has sent media to a channel."""

    connection_id: str
    channel_id: str
    begin_wall_ns: int
    end_wall_ns: int


@dataclass(slots=True)
class EventAudit:
    """Records each delivery and its response, and returns the faults; `finish` returns those of omission."""

    recordings: dict[str, AuditedRecording] = field(default_factory=lambda: defaultdict(AuditedRecording))
    kills_wall_ns: list[int] = field(default_factory=list)
    deliveries: int = 0
    repeats: int = 0
    _bodies: dict[str, Event] = field(default_factory=dict)
    _accepted_ns: dict[str, int] = field(default_factory=dict)
    _unaccepted: dict[str, Subject] = field(default_factory=dict)
    _sequences: RecordingSequences = field(default_factory=RecordingSequences)
    _connections: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def deliver(self, event: Event) -> tuple[bool, Sequence[str]]:
        """Add a delivery; return whether its event is new, and the faults of this delivery."""
        self.deliveries += 1
        event_id: str = event["id"]
        faults = []
        before = self._bodies.get(event_id)
        if before is None:
            place = subject_of_body(event)
            faults += [
                f"{event['type']} overtakes {self._bodies[waiting]['type']}, which was not accepted yet"
                for waiting, earlier in self._unaccepted.items()
                if follows(place, earlier)
            ]
            self._bodies[event_id] = event
            self._unaccepted[event_id] = place
            faults += self._add(event)
            return True, faults
        self.repeats += 1
        if before != event:
            faults.append(f"{event['type']} comes again with another body")
        accepted_ns = self._accepted_ns.get(event_id)
        if accepted_ns is not None and not any(killed > accepted_ns - NS_PER_S for killed in self.kills_wall_ns):
            faults.append(f"{event['type']} comes again though it was accepted")
        return False, faults

    def accept(self, event: Event, wall_ns: int) -> None:
        """Note that the consumer responds with 2xx now."""
        self._accepted_ns.setdefault(event["id"], wall_ns)
        self._unaccepted.pop(event["id"], None)

    def killed(self, wall_ns: int) -> None:
        """Note that the daemon was killed now."""
        self.kills_wall_ns.append(wall_ns)

    def started(self, recording_id: str, channel_id: str, wall_ns: int) -> None:
        """Note that the API responded to StartRecording."""
        recording = self.recordings[recording_id]
        recording.channel_id, recording.begin_wall_ns = channel_id, wall_ns

    def stopped(self, recording_id: str, wall_ns: int) -> None:
        """Note that a recording is about to be stopped, or to expire."""
        self.recordings[recording_id].stop_wall_ns = wall_ns

    def outstanding(self) -> list[str]:
        """Return the ids of recordings without a report and of connections that have not ended."""
        return [*self._unreported(), *self._open_connections()]

    def _unreported(self) -> list[str]:
        return [recording_id for recording_id, recording in self.recordings.items() if not recording.is_reported]

    def _open_connections(self) -> list[str]:
        return [each for each, types in self._connections.items() if types == ["connection.created"]]

    def _add(self, event: Event) -> Iterator[str]:
        """Add a new event to its recording or connection; return what contradicts earlier ones."""
        event_type, data = event["type"], event["data"]
        if event_type.startswith("connection."):
            types = self._connections[event["connection_id"]]
            types.append(event_type)
            if types not in (["connection.created"], ["connection.created", "connection.destroyed"]):
                yield f"a connection is told as {types}"
            return
        yield from self._sequences.add(event_type, data)
        recording = self.recordings[data["recording_id"]]
        recording.channel_id = event["channel_id"]
        if event_type == "recording.report":
            recording.is_reported = True
        elif "connection_id" in event:
            recording.archives[event["connection_id"]].append(event)

    def finish(self, intervals: Sequence[SendingInterval]) -> Iterator[str]:
        """Return what is missing at the end: reports, archives of connections that sent, ends of connections."""
        for recording_id in self._unreported():
            yield f"recording {recording_id} has no report"
        for sent in intervals:
            types = self._connections.get(sent.connection_id, [])
            was_killed = any(
                sent.begin_wall_ns <= killed <= sent.end_wall_ns + NS_PER_S for killed in self.kills_wall_ns
            )
            if "connection.created" not in types and not was_killed:
                yield f"connection {sent.connection_id} was never told"
            yield from self._unrecorded(sent)
        for connection_id in self._open_connections():
            yield f"connection {connection_id} never ended"

    def _unrecorded(self, sent: SendingInterval) -> Iterator[str]:
        """Return the recordings that lack an archive of a connection that sent for long enough."""
        for recording_id, recording in self.recordings.items():
            if recording.channel_id != sent.channel_id or not recording.begin_wall_ns:
                continue
            end_wall_ns = min(recording.stop_wall_ns or sent.end_wall_ns, sent.end_wall_ns)
            common_ns = end_wall_ns - max(recording.begin_wall_ns, sent.begin_wall_ns)
            if common_ns < MIN_RECORDED_NS:
                continue
            events = recording.archives.get(sent.connection_id, [])
            failures = [event for event in events if event["type"] == "archive.failed"]
            if not events:
                yield f"recording {recording_id} lacks connection {sent.connection_id}, {common_ns / 1e9:.1f} s of it"
            elif failures:
                reason = failures[0]["data"]["reason"]
                yield f"the archive of {sent.connection_id} failed after {common_ns / 1e9:.1f} s: {reason}"
