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
from tests.material import told_once


@dataclass
class Servers:
    """A cluster of three. `prefix` gives a corner of the keys that nobody else uses."""

    running: EtcdServers
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where each is called."""
        return tuple(self.running.endpoints)

    def prefix(self) -> str:
        """Give a prefix that was not given before."""
        return f"/test-{next(self._numbers)}/"

    @contextlib.contextmanager
    def paused(self, *places: int) -> Iterator[None]:
        """Let some servers stand still, as if they were cut off."""
        for place in places:
            self.running.pause(place)
        try:
            yield
        finally:
            for place in places:
                self.running.go_on(place)
            self.running.wait_ready()

    def leader(self) -> int:
        """Say which server leads."""
        self.running.wait_ready()
        for place, endpoint in enumerate(self.endpoints):
            with urllib.request.urlopen(f"{endpoint}/metrics", timeout=2) as answer:
                if b"\netcd_server_is_leader 1" in answer.read():
                    return place
        raise AssertionError("nobody leads")


@contextlib.contextmanager
def one_server(folder: Path, *options: str, scheme: str = "http", port: int | None = None) -> Iterator[str]:
    """Run a single server; gives its URL once its port is open."""
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
    """Run the store of one node, its own part in `folder`, with somebody who takes what it hears.

    What it has to tell is delivered at once, unless it `delivers` nothing.
    """
    async with (
        SqliteStore(folder / f"{node_name}.sqlite3") as local,
        Etcd(ClusterConfig(servers.endpoints, prefix)) as etcd,
        EtcdStore(local, etcd, prefix, NodeState(node_name, True), str(folder), ttl_s, connections) as store,
    ):
        async with background(take_changes(store), *([deliver(store)] if delivers else [])):
            yield store


async def take_changes(store: EtcdStore) -> None:
    """Take what the store hears; tell the starts that it has to tell."""
    async with contextlib.aclosing(store.changes()) as news:
        async for changes in news:
            for change in changes:
                if change.is_start_owned:
                    await store.append([told_once(EventType.RECORDING_STARTED, change.recording.recording_id)])


async def deliver(store: EtcdStore) -> None:
    """Let go of each claim as soon as its event is in the log, as if the customer had it."""
    while True:
        with contextlib.suppress(MinorityError):
            said = {stored.event.id for stored in await store.events_after(0, 1000)}
            for event_id in said.intersection(store.ownership.owned_events()):
                await store.ownership.release(event_id)
        await asyncio.sleep(0.01)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again until it is so; the test's time limit ends it."""
    while not await is_so():  # noqa: ASYNC110  # etcd has nothing of ours to wait on
        await asyncio.sleep(0.02)


async def die(*_: object) -> None:
    """In the place of NodePresence.leave: do not say goodbye."""
