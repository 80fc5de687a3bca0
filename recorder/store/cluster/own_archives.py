"""Tells the other nodes of a cluster what became of this one's archives; media waits for nothing of it."""

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
    """The archives of one node that the others do not know yet as they are."""

    def __init__(self, etcd: Etcd, keys: Keys, node_name: str, clock: Clock) -> None:
        self._etcd = etcd
        self._keys = keys
        self._node_name = node_name
        self._clock = clock
        self._untold: dict[tuple[str, str, int], ArchiveState] = {}
        self._told = asyncio.Event()
        self._telling = asyncio.Lock()

    def add(self, archives: Iterable[ArchiveState]) -> None:
        """Take what others are to hear of as soon as they can."""
        for archive in archives:
            self._untold[archive.recording_id, archive.connection.connection_id, archive.number] = archive
            self._told.set()

    async def run(self) -> None:
        """Tell the others of our archives, again and again until they know; ends by cancellation."""
        while True:
            await self._told.wait()
            self._told.clear()
            await retry(self.publish, ETCD_RETRY, self._clock, name="publish archives to the cluster")

    async def publish(self, recording_id: str | None = None) -> None:
        """Tell all archives that are untold, of one recording or of all. Raises StoreError."""
        async with self._telling:
            waiting = [key for key in self._untold if recording_id in {None, key[0]}]
            results = await asyncio.gather(*(self._publish_one(key) for key in waiting), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _publish_one(self, key: tuple[str, str, int]) -> None:
        """Tell one archive. A beginning never follows its end: one that was delayed on its way changes nothing."""
        archive = self._untold[key]
        path = self._keys.archive(archive, self._node_name)
        compare = [present(self._keys.recording(key[0]))]
        if archive.status is ArchiveStatus.WRITING:
            compare.append(absent(path))
        await self._etcd.transact(compare, [put(path, encode_archive(archive, self._node_name))])
        if self._untold.get(key) is archive:
            del self._untold[key]
