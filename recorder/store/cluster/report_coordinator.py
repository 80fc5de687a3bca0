"""Decides which node reports a recording: when the archives of all nodes have ended, one claims the report."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rokuga.recorder.clock import Clock
from rokuga.recorder.events import EventType, event_id
from rokuga.recorder.models import ArchiveState, ArchiveStatus
from rokuga.recorder.retry import retry
from rokuga.recorder.store import MinorityError
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_retry import ETCD_RETRY
from rokuga.recorder.store.cluster.etcd_wire import present, put
from rokuga.recorder.store.cluster.own_archives import OwnArchives
from rokuga.recorder.store.cluster.ownership import Ownership
from rokuga.recorder.store.cluster.shared_state import ClusterView, Keys, decode_archive
from rokuga.recorder.store.cluster.watcher import Watcher

RETRY: Final = replace(ETCD_RETRY, errors=(MinorityError,))
"""Other errors are for the caller: the recording is shared no more, or etcd refuses the request."""

POLL_S: Final = 1.0
"""How often a node that waits checks again: no change announces that a lost node counts as dead by now."""


class ReportCoordinator:
    """The part of one node in the reports of all recordings."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        view: ClusterView,
        watcher: Watcher,
        ownership: Ownership,
        own_archives: OwnArchives,
        clock: Clock,
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._view = view
        self._watcher = watcher
        self._ownership = ownership
        self._own_archives = own_archives
        self._clock = clock

    async def claim_report(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Publish that this node's archives have ended, and wait for the other nodes; see RecordingStore."""

        async def attempt() -> Sequence[ArchiveState] | None:
            if not await self._end_part(recording_id):
                return None
            with self._watcher.report_progress(recording_id) as news:
                return await self._claim_or_wait(recording_id, news)

        return await retry(attempt, RETRY, self._clock, name="claim the report", recording_id=recording_id)

    async def _end_part(self, recording_id: str) -> bool:
        """Publish this node's archives, then that there are no more; False if the recording is reported already."""
        await self._own_archives.publish(recording_id)
        part = put(self._keys.parts(recording_id) + self._view.node_name, b"ended")
        answer = await self._etcd.transact([present(self._keys.recording(recording_id))], [part])
        if answer.get("succeeded"):  # the view is then at least as new as this write
            await self._watcher.wait_for_revision(int(answer["header"]["revision"]))
        return bool(answer.get("succeeded"))

    async def _claim_or_wait(self, recording_id: str, news: asyncio.Event) -> Sequence[ArchiveState] | None:
        """Return all archives when this node has claimed the report, None when another node has reported."""
        while True:
            news.clear()
            if recording_id not in self._view.recordings:
                return None
            if self._is_due(recording_id):
                archives = await self._all_archives(recording_id)
                if archives is not None and await self._ownership.claim_report(recording_id):
                    return archives
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await news.wait()

    def _is_due(self, recording_id: str) -> bool:
        """Return whether all archives have ended, the start is delivered, and this node may claim the report."""
        report = event_id(EventType.RECORDING_REPORT, recording_id)
        return (
            self._view.has_ended(recording_id)
            and event_id(EventType.RECORDING_STARTED, recording_id) not in self._view.claims
            and (self._view.owns(report) or not self._ownership.is_owned_by_live_node(report))
        )

    async def _all_archives(self, recording_id: str) -> Sequence[ArchiveState] | None:
        """Return the archives of all nodes, those of a dead node as failed; None if one is being written."""
        _, found = await self._etcd.list(self._keys.archives(recording_id))
        archives = [decode_archive(each) for each in found]
        for place, archive in enumerate(archives):
            if archive.status is ArchiveStatus.WRITING:
                if not self._view.is_dead(archive.node_name, asyncio.get_running_loop().time()):
                    return None
                archives[place] = replace(archive, status=ArchiveStatus.FAILED)
        return sorted(archives, key=lambda archive: (archive.start_wall_ns, archive.connection.connection_id))
