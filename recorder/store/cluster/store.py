"""The store of a cluster: recordings are decided in etcd, archives and events are stored in this node's SQLite file.

A start, a stop and the claim of a report are one compare-and-set transaction of etcd each. Archives are stored in the
file first and published to the other nodes in the background.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from rokuga.recorder.background import background
from rokuga.recorder.clock import SYSTEM_CLOCK, Clock
from rokuga.recorder.events import CLUSTER_SINGLETONS, Event, EventType, event_id
from rokuga.recorder.models import ArchiveState, Change, NodeState, RecordingState, RecordingStatus
from rokuga.recorder.store import MinorityError, PreviousRun, StoredEvent, StoreError, StoreHealth, TooLargeError
from rokuga.recorder.store.cluster.etcd_client import BUDGET_S, Etcd, UnknownOutcome
from rokuga.recorder.store.cluster.etcd_wire import absent, delete, put, read, read_results, unchanged
from rokuga.recorder.store.cluster.node_presence import NodePresence
from rokuga.recorder.store.cluster.own_archives import OwnArchives
from rokuga.recorder.store.cluster.ownership import Ownership
from rokuga.recorder.store.cluster.report_coordinator import ReportCoordinator
from rokuga.recorder.store.cluster.shared_state import (
    ClusterView,
    Keys,
    SharedRecording,
    decode_node,
    decode_shared,
    encode,
)
from rokuga.recorder.store.cluster.watcher import Watcher
from rokuga.recorder.store.cluster.withdrawals import Withdrawals
from rokuga.recorder.store.sqlite import SqliteStore

MAX_RECORDING_BYTES: Final = 1 << 20
"""Maximum of a recording in etcd, with its metadata. A request of etcd has 1.5 MiB at most by default."""


class EtcdStore:
    """The RecordingStore of one node of a cluster. `local` and `etcd` are opened before it and closed after it."""

    def __init__(
        self,
        local: SqliteStore,
        etcd: Etcd,
        prefix: str,
        node: NodeState,
        instance: str,
        ttl_s: int,
        connections: Callable[[], int] = lambda: 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`instance` distinguishes this node's disk from that of another node with the same name.

        After `ttl_s` without a write the node counts as dead; `connections` counts its clients.
        """
        self._local = local
        self._etcd = etcd
        self._clock = clock
        self._keys = keys = Keys(prefix)
        self._node_name = node.node_name
        self._presence = NodePresence(etcd, keys, node, instance, ttl_s, connections, clock)
        self._view = view = ClusterView(keys.live, node.node_name)
        self.ownership = Ownership(etcd, keys, view, self._presence)
        self._watcher = Watcher(etcd, view, self._mirror, self.ownership.take_over_from_dead_nodes, clock)
        self._own_archives = OwnArchives(etcd, keys, node.node_name, clock)
        self._report_coordinator = ReportCoordinator(
            etcd, keys, view, self._watcher, self.ownership, self._own_archives, clock
        )
        self._withdrawals = Withdrawals(etcd, keys, self.ownership, clock)
        self._reported: set[str] = set()
        self._stack = contextlib.AsyncExitStack()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Join the cluster, also in a minority. Raises StoreError if another node that is up has this name."""
        await self._presence.join()
        for recording in await self._local.unfinished_recordings():
            self._own_archives.add(await self._local.archives(recording.recording_id))
        self._view.unseen_dead_at_s = asyncio.get_running_loop().time() + self._presence.ttl_s
        self._is_open = True
        await self._stack.enter_async_context(
            background(self._presence.run(), self._own_archives.run(), self._withdrawals.run())
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Publish how the archives of this node ended, then leave, so that no node waits for this one."""
        await self._stack.aclose()
        with contextlib.suppress(StoreError):
            await self._own_archives.publish()
            await self._presence.leave()
        self._is_open = False

    @property
    def health(self) -> StoreHealth:
        """The state of the cluster from this node's view."""
        counts = self._etcd.counts
        return StoreHealth(
            self._presence.has_majority,
            counts.answered,
            counts.failed,
            counts.seconds,
            counts.slowest_s,
            len(self._view.nodes),
        )

    def nodes_up(self) -> Sequence[NodeState]:
        """Return the nodes that are up, as of the last change of the watch; none in a minority."""
        return tuple(self._view.nodes.values()) if self._presence.has_majority else ()

    async def read_barrier(self) -> None:
        """Read the revision of the last start or stop, and wait until it is applied; see RecordingStore."""
        if not self._presence.has_majority:
            raise MinorityError("this node sees no majority of its cluster")
        try:
            async with asyncio.timeout(BUDGET_S):
                counter = await self._etcd.get(self._keys.revision_counter)
                if counter is not None:
                    await self._watcher.wait_for_revision(counter.modified)
        except TimeoutError:
            raise MinorityError("this node does not hear in time what the others do") from None
        except MinorityError:
            self._presence.majority_lost()
            raise

    async def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Yield what all nodes start and stop; see RecordingStore."""
        known = await self._local.unfinished_recordings()
        async with contextlib.aclosing(self._watcher.changes(known)) as batches:
            async for changes in batches:
                yield self._withdrawals.without_refused(changes)

    async def _mirror(self, changes: Sequence[Change]) -> None:
        """Store in this node's file which of its recordings have ended."""
        for change in changes:
            recording = change.recording
            if recording.status is RecordingStatus.FINISHED:
                self._reported.discard(recording.recording_id)
            if recording.status is not RecordingStatus.ACTIVE:
                stop_wall_ns = recording.stop_wall_ns or self._clock.wall_ns()
                await self._local.stop_recording(recording.recording_id, stop_wall_ns)

    async def start_recording(self, recording: RecordingState, events: Sequence[Event]) -> bool:
        """Create an active recording if its channel has none on any node; see RecordingStore.

        If this raises after the request was sent, the start is withdrawn.
        """
        for event in events:
            encode(event)
        shared = encode(SharedRecording(recording))
        if len(shared) > MAX_RECORDING_BYTES:
            raise TooLargeError(len(shared), MAX_RECORDING_BYTES)
        self._withdrawals.hold_back(recording.recording_id)
        try:
            is_started = await self._share_start(recording, shared, events)
            if is_started and not await self._local.start_recording(recording, events):
                await self._local.append(events)
        except (StoreError, asyncio.CancelledError) as error:
            if not isinstance(error, MinorityError) or isinstance(error, UnknownOutcome):
                self._withdrawals.add(recording)
            raise
        finally:
            self._withdrawals.decided(recording.recording_id)
        return is_started

    async def _share_start(self, recording: RecordingState, shared: bytes, events: Sequence[Event]) -> bool:
        """Create the recording in etcd; False if the channel has another one. Raises StoreError."""
        keys, recording_id = self._keys, recording.recording_id
        channel = keys.channel(recording.parameters.channel_id)
        answer = await self._transact(
            [absent(channel), absent(keys.recording(recording_id)), absent(keys.finished(recording_id))],
            [
                put(channel, recording_id.encode()),
                put(keys.recording(recording_id), shared),
                put(keys.revision_counter, recording_id.encode()),
                *(
                    self.ownership.claim_new(event.type, recording_id)
                    for event in events
                    if event.type in CLUSTER_SINGLETONS
                ),
            ],
            [read(channel)],
        )
        return bool(answer.get("succeeded")) or [found.value for found in read_results(answer)] == [
            recording_id.encode()
        ]

    async def stop_recording(self, recording_id: str, stop_wall_ns: int) -> bool:
        """Move a recording from ACTIVE to STOPPING, unless any node did; see RecordingStore."""
        key = self._keys.recording(recording_id)
        while True:
            found = await self._get(key)
            if found is None:
                return False
            shared = decode_shared(found)
            recording = shared.recording
            if recording.status is not RecordingStatus.ACTIVE:
                return (shared.stopped_by, recording.stop_wall_ns) == (self._node_name, stop_wall_ns)
            stopped = replace(recording, status=RecordingStatus.STOPPING, stop_wall_ns=stop_wall_ns)
            answer = await self._transact(
                [unchanged(found)],
                [
                    put(key, encode(replace(shared, recording=stopped, stopped_by=self._node_name))),
                    delete(self._keys.channel(recording.parameters.channel_id)),
                    put(self._keys.revision_counter, recording_id.encode()),
                ],
            )
            if answer.get("succeeded"):
                await self._local.stop_recording(recording_id, stop_wall_ns)
                return True

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Wait for the archives of all nodes, and claim the report; see RecordingStore."""
        if recording_id in self._reported:  # it is in the event log
            return None
        self._check_open()
        return await self._report_coordinator.claim_report(recording_id)

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Store the report in this node's file; the recording is deleted from etcd when the report is delivered."""
        for event in events:
            encode(event)
        self._check_open()
        if recording_id in self._reported:
            return False
        if not events or not self._view.owns(event_id(EventType.RECORDING_REPORT, recording_id)):
            await self._local.finish_recording(recording_id, [])
            return False
        if not await self._local.finish_recording(recording_id, events):
            await self._local.append(events)
        self._reported.add(recording_id)
        return True

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Store an archive and its events in this node's file, and publish the archive in the background."""
        shared = self._view.recordings.get(archive.recording_id)
        if shared is not None:
            await self._local.start_recording(shared.recording, [])
        await self._local.save_archive(archive, events)
        self._own_archives.add([archive])

    async def nodes(self) -> Sequence[NodeState]:
        """Return all nodes that have ever joined, and whether they are up."""
        _, members = await self._etcd.list(self._keys.members)
        _, alive = await self._etcd.list(self._keys.node(""))
        known = {node.node_name: replace(node, is_alive=False) for node in map(decode_node, members)}
        known |= {node.node_name: replace(node, is_alive=True) for node in map(decode_node, alive)}
        return [known[name] for name in sorted(known)]

    async def append(self, events: Sequence[Event]) -> None:
        """Append events that belong to no recording."""
        await self._local.append(events)

    async def previous_run(self) -> PreviousRun:
        """Return this node's connections that are open."""
        return await self._local.previous_run()

    async def unfinished_recordings(self) -> Sequence[RecordingState]:
        """Return the recordings of this node's file that are not FINISHED."""
        return await self._local.unfinished_recordings()

    async def archives(self, recording_id: str) -> Sequence[ArchiveState]:
        """Return this node's archives."""
        return await self._local.archives(recording_id)

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Return the next events of this node."""
        return await self._local.events_after(cursor, limit)

    async def prune_events(self, cursor: int) -> None:
        """Delete this node's events up to `cursor`."""
        await self._local.prune_events(cursor)

    async def _transact(self, *parts: Sequence[Any]) -> Any:
        self._check_open()
        return await self._etcd.transact(*parts)

    async def _get(self, key: str) -> Any:
        self._check_open()
        return await self._etcd.get(key)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is not open")
