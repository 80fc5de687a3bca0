"""Three real etcd servers on free ports of this machine."""

import asyncio
import contextlib
import itertools
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rokuga.devtools.etcd_servers import EtcdServers, free_ports, server_command
from rokuga.recorder.background import background
from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.events import EventType
from rokuga.recorder.models import NodeState
from rokuga.recorder.store import MinorityError
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.store import EtcdStore
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import singleton_event


@dataclass
class Servers:
    """A cluster of three servers. Tests use separate key prefixes."""

    running: EtcdServers
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The URLs of all servers."""
        return tuple(self.running.endpoints)

    def prefix(self) -> str:
        """Return a new key prefix."""
        return f"/test-{next(self._numbers)}/"

    @contextlib.contextmanager
    def paused(self, *places: int) -> Iterator[None]:
        """Pause some servers, as if they were partitioned."""
        for place in places:
            self.running.pause(place)
        try:
            yield
        finally:
            for place in places:
                self.running.resume(place)
            self.running.wait_ready()

    def leader(self) -> int:
        """Return the index of the leader."""
        self.running.wait_ready()
        for place, endpoint in enumerate(self.endpoints):
            with urllib.request.urlopen(f"{endpoint}/metrics", timeout=2) as answer:
                if b"\netcd_server_is_leader 1" in answer.read():
                    return place
        raise AssertionError("there is no leader")


@contextlib.contextmanager
def one_server(folder: Path, *options: str, scheme: str = "http", port: int | None = None) -> Iterator[str]:
    """Run a single server and yield its URL."""
    peer, free = free_ports(2)
    port = port or free
    url = f"{scheme}://localhost:{port}"
    command = server_command(folder, "etcd", url, {"etcd": f"http://127.0.0.1:{peer}"})
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    try:
        yield url
    finally:
        process.kill()
        process.wait()


async def ready(client: Etcd) -> None:
    """Call until the server answers."""
    while True:
        with contextlib.suppress(MinorityError):
            await client.get("x")
            return


@contextlib.asynccontextmanager
async def cluster_store(
    servers: Servers,
    prefix: str,
    folder: Path,
    node_name: str,
    ttl_s: int = 10,
    connections: Callable[[], int] = lambda: 0,
    delivers: bool = True,
) -> AsyncIterator[EtcdStore]:
    """Run the store of one node with its file in `folder`, and apply its changes.

    The events that it owns are delivered at once, unless it `delivers` nothing.
    """
    async with (
        SqliteStore(folder / f"{node_name}.sqlite3") as local,
        Etcd(ClusterConfig(servers.endpoints, prefix)) as etcd,
        EtcdStore(local, etcd, prefix, NodeState(node_name, True), str(folder), ttl_s, connections) as store,
    ):
        async with background(apply_changes(store), *([deliver(store)] if delivers else [])):
            yield store


async def apply_changes(store: EtcdStore) -> None:
    """Apply the changes of the store; publish the starts that it owns."""
    async with contextlib.aclosing(store.changes()) as batches:
        async for changes in batches:
            for change in changes:
                if change.is_start_owned:
                    await store.append([singleton_event(EventType.RECORDING_STARTED, change.recording.recording_id)])


async def deliver(store: EtcdStore) -> None:
    """Release each claim as soon as its event is in the log, as if it was delivered."""
    while True:
        with contextlib.suppress(MinorityError):
            stored_ids = {stored.event.id for stored in await store.events_after(0, 1000)}
            for event_id in stored_ids.intersection(store.ownership.owned_events()):
                await store.ownership.release(event_id)
        await asyncio.sleep(0.01)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Poll until a condition holds; the test's time limit ends it."""
    while not await is_so():  # noqa: ASYNC110  # etcd offers nothing to wait for
        await asyncio.sleep(0.02)


async def die(*_: object) -> None:
    """Replaces NodePresence.leave: end without revoking the lease."""
