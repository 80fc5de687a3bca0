"""The state that the nodes of a cluster share: its keys and values in etcd, and the view of one node.

    {prefix}channel/{channel_id}             the id of its active recording; the first of two starts creates it
    {prefix}live/recording/{recording_id}    the recording, ACTIVE or STOPPING; deleted by its report
    {prefix}live/part/{recording_id}/{node}  all archives of this node have ended
    {prefix}live/claim/{event_id}            the node that publishes this start or report; deleted when delivered
    {prefix}live/node/{node}                 a node that is up; on its lease
    {prefix}archive/{recording_id}/{node}/{connection_id}   an archive, WRITING or how it ended; .../{connection_id}_2
                                             is that connection's second one
    {prefix}finished/{recording_id}          for an hour: a delayed start of this recording fails
    {prefix}told/{event_id}                  for 30 days: the event was published after a failover
    {prefix}member/{node}                    a node that has ever joined
    {prefix}turn                             written by each start and stop; its revision is that of the last one

Every node watches the keys under `live`.
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
    """A recording, and the node that stopped it."""

    recording: RecordingState
    stopped_by: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to publish one event; `is_inherited` after a failover, when a dead node's disk may have it, too."""

    node_name: str
    event_type: EventType
    recording_id: str
    is_inherited: bool = False


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim, and its key as it was read."""

    claim: Claim
    found: KeyValue


_encode = msgspec.json.Encoder().encode
_decode_shared = msgspec.json.Decoder(SharedRecording).decode
_decode_archive = msgspec.json.Decoder(ArchiveState).decode
_decode_claim = msgspec.json.Decoder(Claim).decode
_decode_node = msgspec.json.Decoder(NodeState).decode


def encode(value: object) -> bytes:
    """Encode a value. Raises StoreError if JSON cannot represent it."""
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise StoreError(f"cannot be kept: {error}") from error


def decode_shared(found: KeyValue) -> SharedRecording:
    """Decode a recording. Raises StoreError."""
    try:
        return _decode_shared(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_archive(found: KeyValue) -> ArchiveState:
    """Decode an archive. Raises StoreError."""
    try:
        return _decode_archive(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_claim(found: KeyValue) -> HeldClaim:
    """Decode a claim. Raises StoreError."""
    try:
        return HeldClaim(_decode_claim(found.value or b""), found)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def decode_node(found: KeyValue) -> NodeState:
    """Decode a node. Raises StoreError."""
    try:
        return _decode_node(found.value or b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"{found.key} in etcd is damaged: {error}") from error


def encode_archive(archive: ArchiveState, node_name: str) -> bytes:
    """Encode what a report contains of an archive. Raises StoreError."""
    document = archive.document and {key: archive.document[key] for key in REPORT_FIELDS if key in archive.document}
    connection = replace(archive.connection, event_metadata_json=None)
    return encode(replace(archive, connection=connection, node_name=node_name, document=document, owed={}))


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all keys under one prefix."""

    prefix: str

    @property
    def live(self) -> str:
        """Prefix of all watched keys."""
        return f"{self.prefix}live/"

    @property
    def revision_counter(self) -> str:
        """Key that each start and stop writes."""
        return f"{self.prefix}turn"

    @property
    def members(self) -> str:
        """Prefix of all nodes that have ever joined."""
        return f"{self.prefix}member/"

    def channel(self, channel_id: str) -> str:
        """Return the key of a channel's active recording."""
        return f"{self.prefix}channel/{channel_id}"

    def recording(self, recording_id: str) -> str:
        """Return the key of a recording."""
        return f"{self.live}recording/{recording_id}"

    def parts(self, recording_id: str) -> str:
        """Return the prefix of the nodes whose archives of a recording have ended."""
        return f"{self.live}part/{recording_id}/"

    def claim(self, event_id: str) -> str:
        """Return the key of an event's claim."""
        return f"{self.live}claim/{event_id}"

    def published(self, event_id: str) -> str:
        """Return the key that marks an event as published after a failover."""
        return f"{self.prefix}told/{event_id}"

    def node(self, node_name: str) -> str:
        """Return the key of a node that is up."""
        return f"{self.live}node/{node_name}"

    def archives(self, recording_id: str) -> str:
        """Return the prefix of a recording's archives."""
        return f"{self.prefix}archive/{recording_id}/"

    def archive(self, archive: ArchiveState, node_name: str) -> str:
        """Return the key of one archive of a node."""
        suffix = f"_{archive.number}" if archive.number > 1 else ""
        return f"{self.archives(archive.recording_id)}{node_name}/{archive.connection.connection_id}{suffix}"

    def finished(self, recording_id: str) -> str:
        """Return the key that marks a recording as finished."""
        return f"{self.prefix}finished/{recording_id}"


@dataclass(slots=True)
class ClusterView:
    """One node's copy of the watched keys.

    `dead_at_s` is the event loop's time at which a node that is not up counts as dead; `unseen_dead_at_s` is that of
    nodes that were never up while this one ran.
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
        """Replace all keys by a list; return what has changed, ends before starts. Raises StoreError."""
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
        """Apply changes in their order; return those of recordings. Raises StoreError."""
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
        return [replace(change, is_start_owned=self._owns_start(change)) for change in found]

    def _owns_start(self, change: Change) -> bool:
        return self.owns(event_id(EventType.RECORDING_STARTED, change.recording.recording_id))

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

    def owns(self, event_id: str) -> bool:
        """Return whether this node has claimed an event."""
        held = self.claims.get(event_id)
        return held is not None and held.claim.node_name == self.node_name

    def is_dead(self, node_name: str, now_s: float) -> bool:
        """Return whether a node's lease has expired; a node that was never seen has the time of a lease to join."""
        return node_name not in self.nodes and now_s >= self.dead_at_s.get(node_name, self.unseen_dead_at_s)

    def affected(self, changes: Iterable[KeyValue]) -> set[str] | None:
        """Return the recordings whose report these changes may affect; None for all: a node joined or left."""
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
        """Return whether every node that is up has ended its archives of a recording."""
        return self.nodes.keys() <= self.parts.get(recording_id, set())
