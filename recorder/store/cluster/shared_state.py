"""What the nodes of a cluster share, as keys and values of etcd, and how it stands as far as one node has heard.

    {prefix}channel/{channel_id}             the id of its active recording: decides the race of two starts
    {prefix}live/recording/{recording_id}    the recording, ACTIVE or STOPPING; deleted by its report
    {prefix}live/part/{recording_id}/{node}  this node's archives of it have all ended
    {prefix}live/claim/{event_id}            the node that tells this start or report; deleted when it is delivered
    {prefix}live/node/{node}                 a node that is up, on its lease
    {prefix}archive/{recording_id}/{node}/{connection_id}   an archive, WRITING or how it ended; .../{connection_id}_2
                                             is that connection's second one
    {prefix}finished/{recording_id}          keeps a start that comes late from winning, for an hour
    {prefix}told/{event_id}                  keeps a node that was dead from telling what its heir told, for 30 days
    {prefix}member/{node}                    a node that was ever there
    {prefix}turn                             written by each start and stop: its revision is that of the last one

What is under `live` is watched by every node.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from rokuga.recorder.events import EventType, event_id
from rokuga.recorder.models import REPORT_FIELDS, ArchiveState, Change, NodeState, RecordingState, RecordingStatus
from rokuga.recorder.store import StoreError
from rokuga.recorder.store.cluster.etcd_wire import KeyValue


@dataclass(frozen=True, slots=True)
class SharedRecording:
    """A recording with the node that stopped it."""

    recording: RecordingState
    stopped_by: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to tell one event; `is_inherited` from a node that died, whose disk may have the event, too."""

    node_name: str
    event_type: EventType
    recording_id: str
    is_inherited: bool = False


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim with its key as it was found."""

    claim: Claim
    found: KeyValue


_encode = msgspec.json.Encoder().encode
_decode_shared = msgspec.json.Decoder(SharedRecording).decode
_decode_archive = msgspec.json.Decoder(ArchiveState).decode
_decode_claim = msgspec.json.Decoder(Claim).decode
_decode_node = msgspec.json.Decoder(NodeState).decode


def encode(value: object) -> bytes:
    """Write a value. Raises StoreError for what JSON cannot hold."""
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise StoreError(f"cannot be kept: {error}") from error


def decode_shared(found: KeyValue) -> SharedRecording:
    """Read a recording. Raises StoreError."""
    try:
        return _decode_shared(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_archive(found: KeyValue) -> ArchiveState:
    """Read an archive. Raises StoreError."""
    try:
        return _decode_archive(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_claim(found: KeyValue) -> HeldClaim:
    """Read a claim. Raises StoreError."""
    try:
        return HeldClaim(_decode_claim(found.value or b""), found)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_node(found: KeyValue) -> NodeState:
    """Read a node. Raises StoreError."""
    try:
        return _decode_node(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def encode_archive(archive: ArchiveState, node_name: str) -> bytes:
    """Write an archive for others to report, and nothing that a report does not tell. Raises StoreError."""
    document = archive.document and {key: archive.document[key] for key in REPORT_FIELDS if key in archive.document}
    connection = replace(archive.connection, event_metadata_json=None)
    return encode(replace(archive, connection=connection, node_name=node_name, document=document, owed={}))


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all keys under one prefix."""

    prefix: str

    @property
    def live(self) -> str:
        """The beginning of all that is watched."""
        return f"{self.prefix}live/"

    @property
    def revision_counter(self) -> str:
        """The key that each start and stop writes."""
        return f"{self.prefix}turn"

    @property
    def members(self) -> str:
        """The beginning of all nodes that ever were."""
        return f"{self.prefix}member/"

    def channel(self, channel_id: str) -> str:
        """Name the key that a channel's active recording holds."""
        return f"{self.prefix}channel/{channel_id}"

    def recording(self, recording_id: str) -> str:
        """Name a recording."""
        return f"{self.live}recording/{recording_id}"

    def parts(self, recording_id: str) -> str:
        """Give the beginning of the nodes whose archives of a recording have ended."""
        return f"{self.live}part/{recording_id}/"

    def claim(self, event_id: str) -> str:
        """Name the claim of an event."""
        return f"{self.live}claim/{event_id}"

    def told(self, event_id: str) -> str:
        """Name what is left of a claim that was inherited."""
        return f"{self.prefix}told/{event_id}"

    def node(self, node_name: str) -> str:
        """Name a node that is up."""
        return f"{self.live}node/{node_name}"

    def archives(self, recording_id: str) -> str:
        """Give the beginning of a recording's archives."""
        return f"{self.prefix}archive/{recording_id}/"

    def archive(self, archive: ArchiveState, node_name: str) -> str:
        """Name one archive of a node."""
        suffix = f"_{archive.number}" if archive.number > 1 else ""
        return f"{self.archives(archive.recording_id)}{node_name}/{archive.connection.connection_id}{suffix}"

    def finished(self, recording_id: str) -> str:
        """Name what is left of a recording after its report."""
        return f"{self.prefix}finished/{recording_id}"


@dataclass(slots=True)
class ClusterView:
    """What one node has heard of all that is live.

    `dead_at_s`: when a node that is not up counts as dead; `unseen_dead_at_s` is that of nodes that were never seen.
    """

    live: str
    node_name: str
    unseen_dead_at_s: float = 0.0
    recordings: dict[str, SharedRecording] = field(default_factory=dict)
    parts: dict[str, set[str]] = field(default_factory=dict)
    claims: dict[str, HeldClaim] = field(default_factory=dict)
    nodes: dict[str, NodeState] = field(default_factory=dict)
    dead_at_s: dict[str, float] = field(default_factory=dict)

    def replace(self, found: Iterable[KeyValue], now_s: float) -> list[Change]:
        """Take everything anew; give what must have changed, ends before starts."""
        missing = dict(self.recordings)
        nodes = dict(self.nodes)
        for held in (self.parts, self.claims, self.nodes):
            held.clear()
        changes = self.apply(found, now_s)
        for node in nodes.keys() - self.nodes.keys():
            self.dead_at_s[node] = now_s
        gone = [known for recording_id, known in missing.items() if recording_id not in self._listed(changes)]
        for known in gone:
            del self.recordings[known.recording.recording_id]
        ended = [Change(replace(known.recording, status=RecordingStatus.FINISHED)) for known in gone]
        return ended + sorted(changes, key=lambda change: change.recording.status is RecordingStatus.ACTIVE)

    @staticmethod
    def _listed(changes: Iterable[Change]) -> set[str]:
        return {change.recording.recording_id for change in changes}

    def apply(self, changes: Iterable[KeyValue], now_s: float) -> list[Change]:
        """Take what changed, in its order; give what that means for recordings. Raises StoreError."""
        found: list[Change] = []
        for change in changes:
            kind, _, rest = change.key.removeprefix(self.live).partition("/")
            match kind:
                case "recording":
                    found += self._apply_recording(rest, change)
                case "part":
                    recording_id, _, node = rest.partition("/")
                    self._apply_part(recording_id, node, change.value is not None)
                case "claim" if change.value is None:
                    self.claims.pop(rest, None)
                case "claim":
                    self.claims[rest] = decode_claim(change)
                case "node" if change.value is None:
                    self.nodes.pop(rest, None)
                    self.dead_at_s[rest] = now_s
                case "node":
                    self.nodes[rest] = decode_node(change)
        return [replace(change, is_start_ours=self._is_start_ours(change)) for change in found]

    def _is_start_ours(self, change: Change) -> bool:
        return self.is_ours(event_id(EventType.RECORDING_STARTED, change.recording.recording_id))

    def _apply_recording(self, recording_id: str, change: KeyValue) -> list[Change]:
        if change.value is None:
            known = self.recordings.pop(recording_id, None)
            return [Change(replace(known.recording, status=RecordingStatus.FINISHED))] if known else []
        shared = self.recordings[recording_id] = decode_shared(change)
        return [Change(shared.recording)]

    def _apply_part(self, recording_id: str, node: str, is_there: bool) -> None:
        nodes = self.parts.setdefault(recording_id, set())
        if is_there:
            nodes.add(node)
        else:
            nodes.discard(node)
        if not nodes:
            del self.parts[recording_id]

    def is_ours(self, event_id: str) -> bool:
        """Whether an event is ours to tell."""
        held = self.claims.get(event_id)
        return held is not None and held.claim.node_name == self.node_name

    def is_dead(self, node_name: str, now_s: float) -> bool:
        """Whether a node's lease has run out; one that we never saw gets the time of a lease to come back."""
        return node_name not in self.nodes and now_s >= self.dead_at_s.get(node_name, self.unseen_dead_at_s)

    def affected(self, changes: Iterable[KeyValue]) -> set[str] | None:
        """Give the recordings whose report may be nearer now; None for all of them: a node came, or is gone."""
        found = set()
        for change in changes:
            kind, _, rest = change.key.removeprefix(self.live).partition("/")
            if kind == "claim":
                found |= {held.claim.recording_id for held in (self.claims.get(rest),) if held is not None}
            elif kind != "node":
                found.add(rest.partition("/")[0])
            elif change.value is None or rest not in self.nodes:
                return None
        return found

    def has_ended(self, recording_id: str) -> bool:
        """Whether every node that is up has ended its archives of a recording."""
        return self.nodes.keys() <= self.parts.get(recording_id, set())
