"""Cluster singletons when nodes die before they have delivered them: real etcd, real leases."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from rokuga.recorder.store import MinorityError, Owner
from rokuga.recorder.store.cluster.store import EtcdStore
from tests.material import REPORT, STARTED, WALL_NS, recording
from tests.support.etcd import Servers, cluster_store, die, until

Run = Callable[[str], AbstractAsyncContextManager[EtcdStore]]


@pytest.fixture
def run(etcd: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a node that delivers nothing and ends as if it was killed."""
    monkeypatch.setattr("rokuga.recorder.store.cluster.node_presence.NodePresence.leave", die)
    prefix = etcd.prefix()
    return lambda name: cluster_store(etcd, prefix, tmp_path, name, ttl_s=2, delivers=False)


@pytest.fixture
async def successor(run: Run) -> AsyncIterator[EtcdStore]:
    """A node that runs during the whole test, and takes over."""
    async with run("node-1") as living:
        yield living


async def is_cut_off(store: EtcdStore) -> bool:
    """Return whether the majority has stopped answering: servers do not pause at once."""
    try:
        await store._etcd.transact([], [])
    except MinorityError:
        return True
    return False


async def event_ids(store: EtcdStore) -> list[str]:
    """Return the ids of the events in a node's log."""
    return [stored.event.id for stored in await store.events_after(0, 100)]


async def test_a_start_of_a_dead_node_is_published_by_another_one(successor: EtcdStore, run: Run) -> None:
    """With the same id. If the dead node comes back with its disk, it waits for the delivery and skips its own."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [STARTED])
        assert await dying.ownership.owner_of(STARTED.id) is Owner.SELF
        assert await successor.ownership.owner_of(STARTED.id) is Owner.OTHER

    async def is_published() -> bool:
        return STARTED.id in await event_ids(successor)

    await until(is_published)
    assert await successor.ownership.owner_of(STARTED.id) is Owner.SELF
    async with run("node-2") as back:
        assert await event_ids(back) == [STARTED.id]
        assert await back.ownership.owner_of(STARTED.id) is Owner.OTHER
        await successor.ownership.release(STARTED.id)
        assert await back.ownership.owner_of(STARTED.id) is Owner.NOBODY


async def test_a_report_of_a_dead_node_is_published_by_another_one(successor: EtcdStore, run: Run) -> None:
    """It was in the log of the dead node. The recording is deleted from etcd when the report is delivered."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [])
        await dying.stop_recording("RECORDING", WALL_NS + 1)
        await successor.read_barrier()
        assert await dying.ownership.claim_report("RECORDING")
        assert await dying.finish_recording("RECORDING", [REPORT])
        assert await successor.ownership.owner_of(REPORT.id) is Owner.OTHER
        assert not await successor.ownership.claim_report("RECORDING")
    assert await successor.claim_report("RECORDING") == []
    assert await successor.finish_recording("RECORDING", [REPORT])
    async with run("node-2") as back:
        assert await event_ids(back) == [REPORT.id]
        assert await back.ownership.owner_of(REPORT.id) is Owner.OTHER
        await successor.ownership.release(REPORT.id)
        assert await back.ownership.owner_of(REPORT.id) is Owner.NOBODY
        _, left = await back._etcd.list(back._keys.archives("")[: -len("/")])
        assert left == []
        assert await back.claim_report("RECORDING") is None
        assert not await back.finish_recording("RECORDING", [])


async def test_claims_of_a_failover_node_that_dies_return_to_the_first_node(run: Run) -> None:
    """The first node delivers its event after all."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [])
        await dying.stop_recording("RECORDING", WALL_NS + 1)
        assert await dying.claim_report("RECORDING") == []
        assert await dying.finish_recording("RECORDING", [REPORT])
    async with run("node-1") as successor:
        assert await successor.claim_report("RECORDING") == []
    async with run("node-2") as back:

        async def is_ours() -> bool:
            return await back.ownership.owner_of(REPORT.id) is Owner.SELF

        await until(is_ours)


async def test_the_report_waits_for_its_start_to_be_delivered(successor: EtcdStore) -> None:
    """A consumer receives both in their order, whichever nodes deliver them."""
    await successor.start_recording(recording(), [STARTED])
    await successor.stop_recording("RECORDING", WALL_NS + 1)
    await successor.read_barrier()
    assert await successor._report_coordinator._end_part("RECORDING")
    assert not successor._report_coordinator._is_due("RECORDING")
    await successor.ownership.release(STARTED.id)
    assert successor._report_coordinator._is_due("RECORDING")


async def test_in_a_minority_a_node_delivers_what_it_owns_while_its_lease_is_valid(
    etcd: Servers, successor: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own clock: no other node can have failed over before."""
    await successor.start_recording(recording(), [STARTED])
    await successor.read_barrier()
    monkeypatch.setattr(successor._etcd, "_budget_s", 0.3)
    with etcd.paused(1, 2):
        await until(lambda: is_cut_off(successor))
        monkeypatch.setattr(successor._presence, "_up_until_s", float("inf"))
        assert await successor.ownership.owner_of(STARTED.id) is Owner.SELF
        with pytest.raises(MinorityError):
            await successor.ownership.owner_of(REPORT.id)
        monkeypatch.setattr(successor._presence, "_up_until_s", 0.0)
        with pytest.raises(MinorityError):
            await successor.ownership.owner_of(STARTED.id)


async def test_an_event_without_a_claim_is_owned_by_the_node_that_has_it(successor: EtcdStore) -> None:
    """It is older than the cluster, or the keys were lost."""
    assert await successor.ownership.owner_of(STARTED.id) is Owner.SELF
    await successor.ownership.release(STARTED.id)
