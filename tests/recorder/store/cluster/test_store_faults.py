"""What a node does when etcd is full, is wiped while nodes run, or revokes a lease."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from rokuga.devtools.etcd_servers import EtcdServers
from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_wire import put, to_base64
from rokuga.recorder.store.cluster.store import EtcdStore
from tests.material import REPORT, STARTED, WALL_NS, archive, event, recording
from tests.support.etcd import Servers, cluster_store, one_server, ready, until

pytestmark = pytest.mark.system


@asynccontextmanager
async def one_node(url: str, folder: Path) -> AsyncIterator[EtcdStore]:
    """Run one node on one server."""
    async with Etcd(ClusterConfig((url,))) as client:
        await ready(client)
    async with cluster_store(Servers(EtcdServers([url], [])), "/x/", folder, "node-1", ttl_s=2) as node:
        yield node


async def confirms(node: EtcdStore) -> bool:
    """Return whether the node's API would answer."""
    try:
        await node.read_barrier()
    except MinorityError:
        return False
    return True


async def test_a_full_etcd_makes_every_node_a_minority_until_it_has_space(tmp_path: Path) -> None:
    """NOSPACE: etcd accepts no write. Archives and events are stored in the node's file and published afterwards."""
    with one_server(tmp_path, "--quota-backend-bytes", "4000000") as url:
        async with one_node(url, tmp_path) as node, Etcd(ClusterConfig((url,))) as client:
            assert await node.start_recording(recording(), [STARTED])
            await fill(client)
            await until(lambda: answers_nothing(node))
            await node.save_archive(archive(), [event("archive")])
            with pytest.raises(MinorityError):
                await node.read_barrier()
            await make_room(url)

            async def is_well() -> bool:
                return await confirms(node) and not node._own_archives._unpublished

            await until(is_well)
            assert await node.stop_recording("RECORDING", WALL_NS + 1)


async def fill(client: Etcd) -> None:
    """Write until etcd accepts no more."""
    while True:
        try:
            await client.transact([], [put("/big", bytes(400_000))])
        except StoreError as error:
            assert "space exceeded" in str(error)  # noqa: PT017  # it is the end of the loop
            return


async def make_room(url: str) -> None:
    """Do what an operator does: compact, defragment, disarm."""
    async with aiohttp.ClientSession(url) as session:
        answer = await session.post("/v3/kv/range", json={"key": to_base64("/big")})
        revision = (await answer.json())["header"]["revision"]
        (alarm,) = (await (await session.post("/v3/maintenance/alarm", json={"action": "GET"})).json())["alarms"]
        for path, body in (
            ("kv/compaction", {"revision": revision, "physical": True}),
            ("maintenance/defragment", {}),
            ("maintenance/alarm", {"action": "DEACTIVATE", **alarm}),
        ):
            assert (await session.post(f"/v3/{path}", json=body)).status == 200


async def answers_nothing(node: EtcdStore) -> bool:
    """Return whether the node's API would refuse."""
    return not await confirms(node)


async def test_wiping_etcd_ends_all_recordings_and_new_ones_can_start(tmp_path: Path) -> None:
    """The shared state is lost, so nothing is reported; each node announces its own archives."""
    async with AsyncExitStack() as stack:
        with one_server(tmp_path) as url:
            node = await stack.enter_async_context(one_node(url, tmp_path))
            assert await node.start_recording(recording(), [STARTED])
            await until(lambda: has(node, "RECORDING"))
        shutil.rmtree(tmp_path / "etcd")
        stack.enter_context(one_server(tmp_path, port=urlsplit(url).port))
        await until(lambda: has(node, None))
        assert await node.claim_report("RECORDING") is None
        assert not await node.finish_recording("RECORDING", [REPORT])
        assert await node.start_recording(recording("NEXT"), [])
        await until(lambda: has(node, "NEXT"))


async def has(node: EtcdStore, recording_id: str | None) -> bool:
    """Return whether the node's API would answer, with this recording and no other."""
    return await confirms(node) and list(node._view.recordings) == ([recording_id] if recording_id else [])


async def test_a_revoked_lease_is_replaced(tmp_path: Path) -> None:
    """The node is up again with its next write, and its recording continues."""
    with one_server(tmp_path) as url:
        async with one_node(url, tmp_path) as node:
            assert await node.start_recording(recording(), [STARTED])
            lost = node._presence._lease
            assert lost is not None
            await node._etcd.revoke(lost)

            async def is_back() -> bool:
                return node._presence._lease != lost and [each.node_name for each in node.nodes_up()] == ["node-1"]

            await until(is_back)
            await until(lambda: has(node, "RECORDING"))
