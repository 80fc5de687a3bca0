"""The store of a cluster: who records what is decided in etcd, what this node did is kept in its own file.

A start, a stop and the right to report are each one transaction of etcd that compares and moves. Archives and events
are in this node's SQLite file first; archives are then told to the others, for the report. Media waits for nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.states import (
    ArchiveState,
    ArchiveStatus,
    Change,
    NodeState,
    RecordingState,
    RecordingStatus,
)
from rokuga.recorder.store import LastLife, MinorityError, StoredEvent, StoreError, StoreHealth
from rokuga.recorder.store.etcd_client import BUDGET_S, Etcd
from rokuga.recorder.store.etcd_wire import (
    KeyValue,
    absent,
    delete,
    delete_all,
    present,
    put,
    read,
    unchanged,
    value_read,
)
from rokuga.recorder.store.presence import TTL_S, Presence
from rokuga.recorder.store.shared import (
    Keys,
    Shared,
    View,
    decode_archive,
    decode_node,
    decode_shared,
    encode,
    encode_archive,
)
from rokuga.recorder.store.sqlite import SqliteStore

log = structlog.get_logger()

AGAIN_S: Final = 0.3
"""Pause after which a watch that broke, or archives that could not be told, are tried again."""

LOOK_S: Final = 1.0
"""Who waits to report looks again after so long: nobody says when a node that never came back is dead.

Nor when the last archive of another node is told.
"""

FINISHED_S: Final = 3600
"""So long a start that was on its way when its recording was already over is kept from winning."""


class EtcdStore:
    """A RecordingStore of one node of a cluster. `local` and `etcd` are open before it and closed after it."""

    def __init__(
        self,
        local: SqliteStore,
        etcd: Etcd,
        prefix: str,
        node: NodeState,
        instance: str,
        ttl_s: int = TTL_S,
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        """`instance` tells this node's disk from another one with the same name; `connections` counts its clients."""
        self._local = local
        self._etcd = etcd
        self._keys = Keys(prefix)
        self._node_name = node.node_name
        self._presence = Presence(etcd, self._keys, node, instance, ttl_s, connections)
        self._view = View(self._keys.live)
        self._taken = 0
        self._news = asyncio.Condition()
        self._waiting: dict[str, asyncio.Event] = {}
        self._untold: dict[tuple[str, str], ArchiveState] = {}
        self._told = asyncio.Event()
        self._telling = asyncio.Lock()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Come up. Raises StoreError where another node has our name; a minority is no reason to stay away."""
        await self._presence.enter()
        for recording in await self._local.unfinished_recordings():
            for archive in await self._local.archives(recording.recording_id):
                self._untold[recording.recording_id, archive.connection.connection_id] = archive
        now_s = asyncio.get_running_loop().time()
        self._start_s = now_s
        self._is_open = True
        self._tasks = [asyncio.create_task(self._presence.live()), asyncio.create_task(self._tell())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell the others how our archives ended, then leave, so that nobody waits for us."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self._tell_now()
            await self._presence.leave()
        self._is_open = False

    @property
    def health(self) -> StoreHealth:
        """How the cluster looks from here."""
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
        """Give the nodes that are up, as heard last; none in a minority, which does not know."""
        return tuple(self._view.nodes.values()) if self._presence.has_majority else ()

    async def confirm(self) -> None:
        """Ask a majority which start or stop was the last, and wait until it is taken; see RecordingStore."""
        if not self._presence.has_majority:
            raise MinorityError("this node sees no majority of its cluster")
        try:
            async with asyncio.timeout(BUDGET_S):
                turn = await self._etcd.get(self._keys.turn)
                if turn is not None:
                    await self._wait_for(turn.modified)
        except TimeoutError:
            raise MinorityError("this node does not hear in time what the others do") from None
        except MinorityError:
            self._presence.lost()
            raise

    async def _wait_for(self, revision: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._taken >= revision)

    async def changes(self) -> AsyncGenerator[Sequence[Change], None]:
        """Watch, and list again whenever the watch breaks; see RecordingStore."""
        for recording in await self._local.unfinished_recordings():
            self._view.recordings[recording.recording_id] = Shared(recording)
        while True:
            try:
                async with contextlib.aclosing(self._watch()) as watching:
                    async for changes in watching:
                        yield changes
            except MinorityError as error:
                log.info("the watch of the cluster begins again", reason=str(error))
            except StoreError as error:
                log.error("the cluster cannot be followed", reason=str(error))
            await asyncio.sleep(AGAIN_S)

    async def _watch(self) -> AsyncGenerator[Sequence[Change], None]:
        """List what is live, then give what changes. Raises StoreError when that breaks."""
        now_s = asyncio.get_running_loop().time
        revision, found = await self._etcd.list(self._keys.live)
        changes = self._view.replace(found, self._node_name, now_s())
        await self._mirror(changes)
        yield changes
        await self._take(revision)
        self._wake(None)
        async with contextlib.aclosing(self._etcd.watch(self._keys.live, revision + 1)) as responses:
            async for response in responses:
                concerned = self._view.concerned(response.changes)
                changes = self._view.apply(response.changes, self._node_name, now_s())
                await self._mirror(changes)
                if changes:
                    yield changes
                await self._take(response.revision)
                self._wake(concerned)

    def _wake(self, concerned: Iterable[str] | None) -> None:
        """Have whoever waits to report these recordings look again; None: all."""
        for recording_id in self._waiting if concerned is None else concerned:
            if recording_id in self._waiting:
                self._waiting[recording_id].set()

    async def _take(self, revision: int) -> None:
        async with self._news:
            self._taken = revision
            self._news.notify_all()

    async def _mirror(self, changes: Sequence[Change]) -> None:
        """Keep in our own file what ended, where we had a part in it."""
        for change in changes:
            recording = change.recording
            if recording.status is not RecordingStatus.ACTIVE:
                stop_wall_ns = recording.stop_wall_ns or Clock().wall_ns()
                await self._local.stop_recording(recording.recording_id, stop_wall_ns)

    async def start_recording(self, recording: RecordingState, events: Sequence[Event]) -> bool:
        """Create an active recording if its channel has none on any node; see RecordingStore."""
        for event in events:
            encode(event)
        keys, recording_id = self._keys, recording.recording_id
        channel = keys.channel(recording.parameters.channel_id)
        answer = await self._transact(
            [absent(channel), absent(keys.recording(recording_id)), absent(keys.finished(recording_id))],
            [
                put(channel, recording_id.encode()),
                put(keys.recording(recording_id), encode(Shared(recording, started_by=self._node_name))),
                put(keys.turn, recording_id.encode()),
            ],
            [read(channel)],
        )
        if not answer.get("succeeded") and value_read(answer) != recording_id.encode():
            return False
        if not await self._local.start_recording(recording, events):
            await self._local.append(events)
        return True

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
                    put(self._keys.turn, recording_id.encode()),
                ],
            )
            if answer.get("succeeded"):
                await self._local.stop_recording(recording_id, stop_wall_ns)
                return True

    async def conclude(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Say that we are through, and wait for the others or for their death; see RecordingStore."""
        while True:
            with contextlib.suppress(MinorityError):
                if not await self._end_part(recording_id):
                    return None
                return await self._await_claim(recording_id)
            await asyncio.sleep(AGAIN_S)

    async def _end_part(self, recording_id: str) -> bool:
        """Tell all of our archives, then that there are no more; False where the recording is over."""
        await self._tell_now(recording_id)
        part = put(self._keys.parts(recording_id) + self._node_name, b"ended")
        answer = await self._transact([present(self._keys.recording(recording_id))], [part])
        if answer.get("succeeded"):  # what we are about to look at is not older than this
            await self._wait_for(int(answer["header"]["revision"]))
        return bool(answer.get("succeeded"))

    async def _await_claim(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Wait until the report is ours, with all archives, or told by another node: None."""
        news = self._waiting.setdefault(recording_id, asyncio.Event())
        try:
            return await self._claim_or_wait(recording_id, news)
        finally:
            self._waiting.pop(recording_id, None)

    async def _claim_or_wait(self, recording_id: str, news: asyncio.Event) -> Sequence[ArchiveState] | None:
        while True:
            news.clear()
            if recording_id not in self._view.recordings:
                return None
            claim = self._view.reports.get(recording_id)
            holder = None if claim is None or claim.value is None else claim.value.decode()
            is_free = claim is None or (holder != self._node_name and self._is_dead(holder or ""))
            if (is_free or holder == self._node_name) and self._view.has_ended(recording_id):
                archives = await self._all_archives(recording_id)
                if archives is not None and (not is_free or await self._claim(recording_id, claim)):
                    return archives
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await news.wait()

    async def _claim(self, recording_id: str, held: KeyValue | None) -> bool:
        """Take the right to report, from nobody or from a dead node; False where another node was faster."""
        key = self._keys.report(recording_id)
        answer = await self._transact(
            [present(self._keys.recording(recording_id)), absent(key) if held is None else unchanged(held)],
            [put(key, self._node_name.encode())],
            [read(key)],
        )
        return bool(answer.get("succeeded")) or value_read(answer) == self._node_name.encode()

    async def _all_archives(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Give the archives of all nodes, those that a dead one was writing as failed; None if one may yet end."""
        _, found = await self._etcd.list(self._keys.archives(recording_id))
        archives = [decode_archive(each) for each in found]
        for place, archive in enumerate(archives):
            if archive.status is ArchiveStatus.WRITING:
                if not self._is_dead(archive.node_name):
                    return None
                archives[place] = replace(archive, status=ArchiveStatus.FAILED)
        return sorted(archives, key=lambda archive: (archive.start_wall_ns, archive.connection.connection_id))

    def _is_dead(self, node_name: str) -> bool:
        """Whether a node's lease has run out; one that we never saw gets the time of a lease to come back."""
        dead_at_s = self._view.dead_at_s.get(node_name, self._start_s + self._presence.ttl_s)
        return node_name not in self._view.nodes and asyncio.get_running_loop().time() >= dead_at_s

    async def finish_recording(self, recording_id: str, events: Sequence[Event]) -> bool:
        """Keep the report that we claimed in our own file, then let the cluster forget the recording."""
        for event in events:
            encode(event)
        claim = await self._get(self._keys.report(recording_id)) if events else None
        if claim is None or claim.value != self._node_name.encode():
            await self._local.finish_recording(recording_id, [])
            return False
        if not await self._local.finish_recording(recording_id, events):
            await self._local.append(events)
        keys = self._keys
        lease = await self._etcd.grant(FINISHED_S)
        await self._transact(
            [unchanged(claim)],
            [
                delete(keys.recording(recording_id)),
                delete(keys.report(recording_id)),
                delete_all(keys.parts(recording_id)),
                delete_all(keys.archives(recording_id)),
                put(keys.finished(recording_id), self._node_name.encode(), lease),
            ],
        )
        return True

    async def save_archive(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Keep an archive and its events in our own file; the others hear of it as soon as they can."""
        shared = self._view.recordings.get(archive.recording_id)
        if shared is not None:
            await self._local.start_recording(shared.recording, [])
        await self._local.save_archive(archive, events)
        self._untold[archive.recording_id, archive.connection.connection_id] = archive
        self._told.set()

    async def _tell(self) -> None:
        """Tell the others of our archives, again and again until they know."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self._tell_now()
            except StoreError as error:
                if not isinstance(error, MinorityError):
                    log.error("archives cannot be told to the cluster", reason=str(error))
                self._told.set()
                await asyncio.sleep(AGAIN_S)

    async def _tell_now(self, recording_id: str | None = None) -> None:
        """Tell all archives that are untold, of one recording or of all. Raises StoreError."""
        async with self._telling:
            waiting = [key for key in self._untold if recording_id in {None, key[0]}]
            results = await asyncio.gather(*(self._tell_one(key) for key in waiting), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _tell_one(self, key: tuple[str, str]) -> None:
        """Tell one archive. A beginning never follows its end: one that was delayed on its way changes nothing."""
        archive = self._untold[key]
        path = f"{self._keys.archives(key[0])}{self._node_name}/{key[1]}"
        compare = [present(self._keys.recording(key[0]))]
        if archive.status is ArchiveStatus.WRITING:
            compare.append(absent(path))
        await self._transact(compare, [put(path, encode_archive(archive, self._node_name))])
        if self._untold.get(key) is archive:
            del self._untold[key]

    async def nodes(self) -> Sequence[NodeState]:
        """Give all nodes that ever were, and whether they are up."""
        _, members = await self._etcd.list(self._keys.members)
        _, alive = await self._etcd.list(self._keys.node(""))
        known = {node.node_name: replace(node, is_alive=False) for node in map(decode_node, members)}
        known |= {node.node_name: replace(node, is_alive=True) for node in map(decode_node, alive)}
        return [known[name] for name in sorted(known)]

    async def append(self, events: Sequence[Event]) -> None:
        """Add events that belong to no recording."""
        await self._local.append(events)

    async def last_life(self) -> LastLife:
        """Give our own connections that are open."""
        return await self._local.last_life()

    async def unfinished_recordings(self) -> Sequence[RecordingState]:
        """Give the recordings that we have a part in and that are not FINISHED."""
        return await self._local.unfinished_recordings()

    async def archives(self, recording_id: str) -> Sequence[ArchiveState]:
        """Give our own archives."""
        return await self._local.archives(recording_id)

    async def events_after(self, cursor: int, limit: int) -> Sequence[StoredEvent]:
        """Give the next of our events."""
        return await self._local.events_after(cursor, limit)

    async def forget_events(self, cursor: int) -> None:
        """Let go of our events up to `cursor`."""
        await self._local.forget_events(cursor)

    async def _transact(self, *parts: Sequence[Any]) -> Any:
        self._check_open()
        return await self._etcd.transact(*parts)

    async def _get(self, key: str) -> Any:
        self._check_open()
        return await self._etcd.get(key)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is not open")
