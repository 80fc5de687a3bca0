"""The store of a cluster: three nodes on three real etcd servers, servers that hang, nodes that die."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.background import background
from rokuga.recorder.config import ClusterConfig
from rokuga.recorder.models import ArchiveStatus, NodeState, RecordingParameters, RecordingState
from rokuga.recorder.store import MinorityError, StoreError, TooLargeError
from rokuga.recorder.store.cluster.etcd_client import Etcd, UnknownOutcome
from rokuga.recorder.store.cluster.etcd_wire import put
from rokuga.recorder.store.cluster.shared_state import Keys
from rokuga.recorder.store.cluster.store import MAX_RECORDING_BYTES, EtcdStore
from rokuga.recorder.store.sqlite import SqliteStore
from tests.material import REPORT, STARTED, WALL_NS, archive, event, identity, recording
from tests.support.etcd import Servers, cluster_store, die, until

NAMES = ("node-1", "node-2", "node-3")


@pytest.fixture
async def nodes(etcd: Servers, tmp_path: Path) -> AsyncIterator[list[EtcdStore]]:
    """Three nodes of one cluster."""
    prefix = etcd.prefix()
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(cluster_store(etcd, prefix, tmp_path, name)) for name in NAMES]


async def test_of_12_starters_on_3_nodes_one_wins_each_of_30_channels(nodes: list[EtcdStore]) -> None:
    """Four starters per node. Every node receives all thirty starts and nothing else."""
    for channel in range(30):
        won = await asyncio.gather(
            *(
                nodes[starter % 3].start_recording(recording(f"{channel}-{starter}", f"channel {channel}"), [])
                for starter in range(12)
            )
        )
        assert won.count(True) == 1
    for node in nodes:
        await node.read_barrier()
        assert len(node._view.recordings) == 30


async def test_of_many_stops_on_all_nodes_one_wins(nodes: list[EtcdStore]) -> None:
    await nodes[0].start_recording(recording(), [])
    won = await asyncio.gather(*(nodes[n % 3].stop_recording("RECORDING", WALL_NS + n) for n in range(12)))
    assert won.count(True) == 1


async def test_one_node_reports_the_archives_of_all(nodes: list[EtcdStore]) -> None:
    """Not before the archives of all nodes have ended; the report contains the node of each archive."""
    await nodes[0].start_recording(recording(), [STARTED])
    for place, node in enumerate(nodes):
        await node.read_barrier()
        await node.save_archive(archive(connection_id=f"C{place}"), [])
    await nodes[1].stop_recording("RECORDING", WALL_NS + 1)
    concluding = [asyncio.create_task(node.claim_report("RECORDING")) for node in nodes[:2]]
    for place, node in enumerate(nodes):
        await node.save_archive(replace(archive(connection_id=f"C{place}"), status=ArchiveStatus.AVAILABLE), [])
    await until(lambda: _parts(nodes[2], 2))
    assert not any(task.done() for task in concluding)
    concluding.append(asyncio.create_task(nodes[2].claim_report("RECORDING")))
    (first,), others = await asyncio.wait(concluding, return_when=asyncio.FIRST_COMPLETED)
    reported = first.result()
    assert reported is not None
    assert [(each.node_name, each.status) for each in reported] == [(name, "available") for name in NAMES]
    assert not any(task.done() for task in others)
    event_publisher = nodes[concluding.index(first)]
    assert await event_publisher.finish_recording("RECORDING", [REPORT])
    assert await asyncio.gather(*others) == [None, None]
    _, left = await event_publisher._etcd.list(event_publisher._keys.recording(""))
    _, archives = await event_publisher._etcd.list(event_publisher._keys.archives("RECORDING"))
    assert [*left, *archives] == []


async def _parts(node: EtcdStore, count: int) -> bool:
    return len(node._view.parts.get("RECORDING", ())) == count


async def test_archives_of_a_dead_node_are_failed_and_another_node_reports(
    etcd: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had claimed the report when it died. When it comes back, the recording is reported."""
    monkeypatch.setattr("rokuga.recorder.store.cluster.node_presence.NodePresence.leave", die)
    prefix = etcd.prefix()
    async with cluster_store(etcd, prefix, tmp_path, "node-1", ttl_s=1) as living:
        async with cluster_store(etcd, prefix, tmp_path, "node-2", ttl_s=1) as dying:
            await living.start_recording(recording(), [])
            await dying.read_barrier()
            await dying.save_archive(archive(), [])
            await until(lambda: _is_published(dying))
            await living.stop_recording("RECORDING", WALL_NS + 1)
            await until(lambda: _holds_stop(dying))
            assert await dying.ownership.claim_report("RECORDING")
        reported = await living.claim_report("RECORDING")
        assert reported is not None
        assert [(each.node_name, each.status) for each in reported] == [("node-2", "failed")]
        assert await living.finish_recording("RECORDING", [REPORT])
        async with cluster_store(etcd, prefix, tmp_path, "node-2", ttl_s=1) as back:
            assert [state.recording_id for state in await back.unfinished_recordings()] == ["RECORDING"]
            await back.read_barrier()
            assert await back.claim_report("RECORDING") is None
            assert not await back.finish_recording("RECORDING", [])
            assert await back.unfinished_recordings() == []


async def _is_published(node: EtcdStore) -> bool:
    return not node._own_archives._unpublished


async def _holds_stop(node: EtcdStore) -> bool:
    return node._view.recordings["RECORDING"].recording.status == "stopping"


async def test_a_server_that_hangs_is_skipped(etcd: Servers, nodes: list[EtcdStore]) -> None:
    """Any of them, also the leader: within one call, and the watches fail over by themselves."""
    with etcd.paused(etcd.leader()):
        for number in itertools.count():  # a start that is refused is withdrawn, and its id with it
            if await _starts(nodes[0], name := f"TRY-{number}"):
                break
        for node in nodes:
            await until(lambda node=node: _has_recording(node, name))  # type: ignore[misc]


async def _starts(node: EtcdStore, recording_id: str) -> bool:
    with contextlib.suppress(MinorityError):
        return await node.start_recording(recording(recording_id), [])
    return False


async def _has_recording(node: EtcdStore, recording_id: str = "RECORDING") -> bool:
    with contextlib.suppress(MinorityError):
        await node.read_barrier()
        return recording_id in node._view.recordings
    return False


async def test_a_minority_neither_reads_nor_changes_and_catches_up_afterwards(
    etcd: Servers, nodes: list[EtcdStore]
) -> None:
    """Two of three servers hang. Archives that ended meanwhile are published afterwards."""
    node = nodes[0]
    await node.start_recording(recording(), [])
    with etcd.paused(1, 2):
        with pytest.raises(MinorityError):
            await node.read_barrier()
        with pytest.raises(MinorityError):
            await node.read_barrier()
        with pytest.raises(MinorityError):
            await node.start_recording(recording("B", "other"), [])
        with pytest.raises(MinorityError):
            await node.stop_recording("RECORDING", WALL_NS + 1)
        await node.save_archive(archive(), [event("archive")])
        assert [stored.event for stored in await node.events_after(0, 10)] == [event("archive")]
        assert not node.health.has_majority
    await until(lambda: _has_recording(node))
    await until(lambda: _is_published(node))
    assert node.health.has_majority


async def test_two_nodes_must_not_have_the_same_name(etcd: Servers, tmp_path: Path) -> None:
    """A node with the same disk may come back at once, before its previous lease has expired."""
    prefix = etcd.prefix()
    async with cluster_store(etcd, prefix, tmp_path, "node-1"):
        async with SqliteStore(tmp_path / "x") as local, Etcd(ClusterConfig(etcd.endpoints, prefix)) as client:
            other = EtcdStore(local, client, prefix, NodeState("node-1", True), "another disk", ttl_s=-2)
            with pytest.raises(StoreError, match="node_name must differ"):
                await other.__aenter__()
        async with cluster_store(etcd, prefix, tmp_path, "node-1"):
            pass


async def test_nodes_that_are_down_are_listed(etcd: Servers, tmp_path: Path) -> None:
    prefix = etcd.prefix()
    async with cluster_store(etcd, prefix, tmp_path, "node-1") as first:
        async with cluster_store(etcd, prefix, tmp_path, "node-2"):
            assert [(node.node_name, node.is_alive) for node in await first.nodes()] == [
                ("node-1", True),
                ("node-2", True),
            ]
        assert [(node.node_name, node.is_alive) for node in await first.nodes()] == [
            ("node-1", True),
            ("node-2", False),
        ]


async def test_a_node_publishes_its_number_of_clients(etcd: Servers, tmp_path: Path) -> None:
    prefix, counts = etcd.prefix(), [3]
    async with (
        cluster_store(etcd, prefix, tmp_path, "node-1", connections=lambda: counts[-1]) as first,
        cluster_store(etcd, prefix, tmp_path, "node-2") as second,
    ):

        async def is_heard() -> bool:
            return ("node-1", counts[-1]) in {(node.node_name, node.connections) for node in second.nodes_up()}

        await until(is_heard)
        counts.append(5)
        await until(is_heard)
        first._presence.majority_lost()
        assert first.nodes_up() == ()


async def test_a_damaged_value_is_a_named_error(nodes: list[EtcdStore]) -> None:
    node = nodes[0]
    await node._etcd.transact([], [put(Keys(node._keys.prefix).recording("RECORDING"), b"{")])
    with pytest.raises(StoreError, match="damaged"):
        await node.stop_recording("RECORDING", WALL_NS)


@pytest.mark.parametrize("size", [MAX_RECORDING_BYTES - 1000, MAX_RECORDING_BYTES])
async def test_a_recording_that_is_too_large_for_etcd_is_refused_by_name(nodes: list[EtcdStore], size: int) -> None:
    """A recording just below the limit is shared, and can be stopped and reported by another node."""
    parameters = RecordingParameters("sora", 0, metadata_json=f'"{"x" * size}"')
    large = RecordingState("RECORDING", parameters, WALL_NS)
    if size == MAX_RECORDING_BYTES:
        with pytest.raises(TooLargeError, match="bytes are more than"):
            await nodes[0].start_recording(large, [STARTED])
        assert await nodes[0].start_recording(recording("SMALL"), [STARTED])
        return
    assert await nodes[0].start_recording(large, [STARTED])
    await nodes[1].read_barrier()
    assert nodes[1]._view.recordings["RECORDING"].recording == large
    assert await nodes[1].stop_recording("RECORDING", WALL_NS + 1)
    concluding = [asyncio.create_task(node.claim_report("RECORDING")) for node in nodes]
    (first,), others = await asyncio.wait(concluding, return_when=asyncio.FIRST_COMPLETED)
    assert first.result() == []
    assert await nodes[concluding.index(first)].finish_recording("RECORDING", [REPORT])
    assert await asyncio.gather(*others) == [None, None]


async def test_event_metadata_is_not_shared(nodes: list[EtcdStore]) -> None:
    """It may be larger than a request of etcd, and no report contains it."""
    await nodes[0].start_recording(recording(), [])
    talkative = replace(identity(), event_metadata_json=f'"{"x" * 2_000_000}"')
    await nodes[0].read_barrier()
    await nodes[0].save_archive(replace(archive(), connection=talkative), [])
    await until(lambda: _is_published(nodes[0]))
    assert (await nodes[0].archives("RECORDING"))[0].connection == talkative


async def record_starts(node: EtcdStore, starts: list[str]) -> None:
    """Append the starts that a node receives from now on."""
    async with contextlib.aclosing(node.changes()) as news:
        async for changes in news:
            starts += [change.recording.recording_id for change in changes if change.recording.status == "active"]


@pytest.mark.parametrize("is_done", [True, False], ids=["etcd has done it", "it is still on its way"])
async def test_a_start_whose_answer_is_lost_is_withdrawn(
    nodes: list[EtcdStore], monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    """Its caller was refused: no node records, and the channel is free."""
    node, starts = nodes[0], list[str]()
    transact = node._etcd.transact

    async def lose(*parts: Any) -> Any:
        if not parts[0]:  # that the node is up, which compares nothing
            return await transact(*parts)
        monkeypatch.undo()
        if is_done:
            await transact(*parts)
        raise UnknownOutcome("etcd: no answer in time")

    async with background(record_starts(node, starts)):
        monkeypatch.setattr(node._etcd, "transact", lose)
        with pytest.raises(UnknownOutcome):
            await node.start_recording(recording(), [STARTED])
        await until(lambda: _is_withdrawn(node))
        assert not await node.start_recording(recording(), [STARTED])  # as a request that arrives late
        assert await nodes[1].start_recording(recording("NEXT"), [])
        for each in nodes:
            await each.read_barrier()
            assert list(each._view.recordings) == ["NEXT"]
        await until(lambda: _has("NEXT", starts))
    assert starts == ["NEXT"]
    assert await node.events_after(0, 10) == []


async def _has(recording_id: str, starts: list[str]) -> bool:
    return recording_id in starts


async def _is_withdrawn(node: EtcdStore) -> bool:
    return not node._withdrawals._waiting


async def test_a_start_that_the_nodes_file_rejects_is_withdrawn(
    nodes: list[EtcdStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(*_: object) -> bool:
        raise StoreError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(nodes[0]._local, "start_recording", locked)
        with pytest.raises(StoreError, match="locked"):
            await nodes[0].start_recording(recording(), [STARTED])
    await until(lambda: _is_withdrawn(nodes[0]))
    for node in nodes:
        await node.read_barrier()
        assert list(node._view.recordings) == []
    assert await nodes[1].start_recording(recording("NEXT"), [])
