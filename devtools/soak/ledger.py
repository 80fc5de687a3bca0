"""Accounts for each event: none lost, none doubled, each in its place. Pure: deliveries in, faults out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rokuga.recorder.media import NS_PER_S
from rokuga.webhooks.contract import subject_of_body
from rokuga.webhooks.order import Subject, follows
from rokuga.webhooks.sequence import RecordingSequences

Event = Mapping[str, Any]

MUST_BE_SEEN_NS: Final = 1_500_000_000
"""Whoever publishes for so long into a recording has an archive, and something in it."""


@dataclass(slots=True)
class Recording:
    """One recording: the events of each connection in it, in their order.

    `begin_wall_ns` and `stop_wall_ns` are the API's, 0 for no answer.
    """

    channel_id: str = ""
    begin_wall_ns: int = 0
    stop_wall_ns: int = 0
    archives: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    is_reported: bool = False


@dataclass(frozen=True, slots=True)
class NodePresence:
    """A publisher that was there: in which channel, from when to when it sent."""

    connection_id: str
    channel_id: str
    begin_wall_ns: int
    end_wall_ns: int


@dataclass(slots=True)
class Ledger:
    """Takes each delivery and how it was answered; `settle` says at the end what is owed."""

    recordings: dict[str, Recording] = field(default_factory=lambda: defaultdict(Recording))
    kills_wall_ns: list[int] = field(default_factory=list)
    deliveries: int = 0
    repeats: int = 0
    _bodies: dict[str, Event] = field(default_factory=dict)
    _accepted_ns: dict[str, int] = field(default_factory=dict)
    _unsettled: dict[str, Subject] = field(default_factory=dict)
    _sequences: RecordingSequences = field(default_factory=RecordingSequences)
    _connections: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def deliver(self, event: Event) -> tuple[bool, Sequence[str]]:
        """Take a delivery as it comes; say whether the event is new, and what is wrong about its coming."""
        self.deliveries += 1
        event_id: str = event["id"]
        faults = []
        before = self._bodies.get(event_id)
        if before is None:
            place = subject_of_body(event)
            faults += [
                f"{event['type']} overtakes {self._bodies[waiting]['type']}, which was not accepted yet"
                for waiting, earlier in self._unsettled.items()
                if follows(place, earlier)
            ]
            self._bodies[event_id] = event
            self._unsettled[event_id] = place
            faults += self._enter(event)
            return True, faults
        self.repeats += 1
        if before != event:
            faults.append(f"{event['type']} comes again with another body")
        accepted_ns = self._accepted_ns.get(event_id)
        if accepted_ns is not None and not any(killed > accepted_ns - NS_PER_S for killed in self.kills_wall_ns):
            faults.append(f"{event['type']} comes again though it was accepted")
        return False, faults

    def accept(self, event: Event, wall_ns: int) -> None:
        """Note that the consumer says 2xx to an event now."""
        self._accepted_ns.setdefault(event["id"], wall_ns)
        self._unsettled.pop(event["id"], None)

    def killed(self, wall_ns: int) -> None:
        """Note that the daemon was killed now."""
        self.kills_wall_ns.append(wall_ns)

    def started(self, recording_id: str, channel_id: str, wall_ns: int) -> None:
        """Note that the API answered a start."""
        recording = self.recordings[recording_id]
        recording.channel_id, recording.begin_wall_ns = channel_id, wall_ns

    def stopped(self, recording_id: str, wall_ns: int) -> None:
        """Note that a recording is about to be stopped, or to expire."""
        self.recordings[recording_id].stop_wall_ns = wall_ns

    def owed(self) -> list[str]:
        """Give the recordings that have no report yet, and the connections that have no end."""
        return [*self._unreported(), *self._open_connections()]

    def _unreported(self) -> list[str]:
        return [recording_id for recording_id, recording in self.recordings.items() if not recording.is_reported]

    def _open_connections(self) -> list[str]:
        return [who for who, told in self._connections.items() if told == ["connection.created"]]

    def _enter(self, event: Event) -> Iterator[str]:
        """Put a new event to its recording or connection; say what it contradicts."""
        event_type, data = event["type"], event["data"]
        if event_type.startswith("connection."):
            told = self._connections[event["connection_id"]]
            told.append(event_type)
            if told not in (["connection.created"], ["connection.created", "connection.destroyed"]):
                yield f"a connection is told as {told}"
            return
        yield from self._sequences.add(event_type, data)
        recording = self.recordings[data["recording_id"]]
        recording.channel_id = event["channel_id"]
        if event_type == "recording.report":
            recording.is_reported = True
        elif "connection_id" in event:
            recording.archives[event["connection_id"]].append(event)

    def settle(self, present: Sequence[NodePresence]) -> Iterator[str]:
        """Say at the end what never came: reports, archives of those who were there, ends of connections."""
        for recording_id in self._unreported():
            yield f"recording {recording_id} has no report"
        for who in present:
            told = self._connections.get(who.connection_id, [])
            was_killed = any(
                who.begin_wall_ns <= killed <= who.end_wall_ns + NS_PER_S for killed in self.kills_wall_ns
            )
            if "connection.created" not in told and not was_killed:
                yield f"connection {who.connection_id} was never told"
            yield from self._unrecorded(who)
        for connection_id in self._open_connections():
            yield f"connection {connection_id} never ended"

    def _unrecorded(self, who: NodePresence) -> Iterator[str]:
        """Say which recordings lack somebody who was there for long enough."""
        for recording_id, recording in self.recordings.items():
            if recording.channel_id != who.channel_id or not recording.begin_wall_ns:
                continue
            end_wall_ns = min(recording.stop_wall_ns or who.end_wall_ns, who.end_wall_ns)
            common_ns = end_wall_ns - max(recording.begin_wall_ns, who.begin_wall_ns)
            if common_ns < MUST_BE_SEEN_NS:
                continue
            events = recording.archives.get(who.connection_id, [])
            failures = [event for event in events if event["type"] == "archive.failed"]
            if not events:
                yield f"recording {recording_id} lacks connection {who.connection_id}, {common_ns / 1e9:.1f} s of it"
            elif failures:
                reason = failures[0]["data"]["reason"]
                yield f"the archive of {who.connection_id} failed after {common_ns / 1e9:.1f} s: {reason}"
