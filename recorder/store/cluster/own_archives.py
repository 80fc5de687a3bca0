"""Publishes this node's archives to the other nodes of the cluster, in the background."""

import asyncio
from collections.abc import Iterable

from rokuga.recorder.clock import Clock
from rokuga.recorder.models import ArchiveState, ArchiveStatus
from rokuga.recorder.retry import retry
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_retry import ETCD_RETRY
from rokuga.recorder.store.cluster.etcd_wire import absent, present, put
from rokuga.recorder.store.cluster.shared_state import Keys, encode_archive


class OwnArchives:
    """The archives of one node whose newest state is not in etcd yet."""

    def __init__(self, etcd: Etcd, keys: Keys, node_name: str, clock: Clock) -> None:
        self._etcd = etcd
        self._keys = keys
        self._node_name = node_name
        self._clock = clock
        self._unpublished: dict[tuple[str, str, int], ArchiveState] = {}
        self._added = asyncio.Event()
        self._publishing = asyncio.Lock()

    def add(self, archives: Iterable[ArchiveState]) -> None:
        """Publish these archives as soon as possible."""
        for archive in archives:
            self._unpublished[archive.recording_id, archive.connection.connection_id, archive.number] = archive
            self._added.set()

    async def run(self) -> None:
        """Publish what is added, with retries; ends by cancellation."""
        while True:
            await self._added.wait()
            self._added.clear()
            await retry(self.publish, ETCD_RETRY, self._clock, name="publish archives to the cluster")

    async def publish(self, recording_id: str | None = None) -> None:
        """Publish all archives that are waiting, of one recording or of all. Raises StoreError."""
        async with self._publishing:
            waiting = [key for key in self._unpublished if recording_id in {None, key[0]}]
            results = await asyncio.gather(*(self._publish_one(key) for key in waiting), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _publish_one(self, key: tuple[str, str, int]) -> None:
        """Write one archive. A delayed write of its beginning never overwrites its end."""
        archive = self._unpublished[key]
        path = self._keys.archive(archive, self._node_name)
        compare = [present(self._keys.recording(key[0]))]
        if archive.status is ArchiveStatus.WRITING:
            compare.append(absent(path))
        await self._etcd.transact(compare, [put(path, encode_archive(archive, self._node_name))])
        if self._unpublished.get(key) is archive:
            del self._unpublished[key]
