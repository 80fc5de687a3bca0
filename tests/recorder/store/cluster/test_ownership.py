"""Who tells what is told once for a whole cluster, when nodes die before they have: real etcd, real leases."""

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
    """Run a node that delivers nothing, and that ends without a word."""
    monkeypatch.setattr("rokuga.recorder.store.cluster.node_presence.NodePresence.leave", die)
    prefix = etcd.prefix()
    return lambda name: cluster_store(etcd, prefix, tmp_path, name, ttl_s=2, delivers=False)


@pytest.fixture
async def heir(run: Run) -> AsyncIterator[EtcdStore]:
    """A node that lives through the whole test."""
    async with run("node-1") as living:
        yield living


async def is_cut_off(store: EtcdStore) -> bool:
    """Whether the majority does not answer any more: servers that are stopped do not stop at once."""
    try:
        await store._etcd.transact([], [])
    except MinorityError:
        return True
    return False


async def said(store: EtcdStore) -> list[str]:
    """Give the ids of what is in a node's log."""
    return [stored.event.id for stored in await store.events_after(0, 100)]


async def test_a_start_of_a_dead_node_is_published_by_another_one(heir: EtcdStore, run: Run) -> None:
    """Under the same id. If the node comes back with its disk it waits while the heir tells, and forgets then."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [STARTED])
        assert await dying.ownership.owner_of(STARTED.id) is Owner.SELF
        assert await heir.ownership.owner_of(STARTED.id) is Owner.OTHER

    async def is_told() -> bool:
        return STARTED.id in await said(heir)

    await until(is_told)
    assert await heir.ownership.owner_of(STARTED.id) is Owner.SELF
    async with run("node-2") as back:
        assert await said(back) == [STARTED.id]
        assert await back.ownership.owner_of(STARTED.id) is Owner.OTHER
        await heir.ownership.release(STARTED.id)
        assert await back.ownership.owner_of(STARTED.id) is Owner.NOBODY


async def test_a_report_of_a_dead_node_is_published_by_another_one(heir: EtcdStore, run: Run) -> None:
    """It was in the log of the dead node. The cluster forgets the recording once the report is delivered."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [])
        await dying.stop_recording("RECORDING", WALL_NS + 1)
        await heir.read_barrier()
        assert await dying.ownership.claim_report("RECORDING")
        assert await dying.finish_recording("RECORDING", [REPORT])
        assert await heir.ownership.owner_of(REPORT.id) is Owner.OTHER
        assert not await heir.ownership.claim_report("RECORDING")
    assert await heir.claim_report("RECORDING") == []
    assert await heir.finish_recording("RECORDING", [REPORT])
    async with run("node-2") as back:
        assert await said(back) == [REPORT.id]
        assert await back.ownership.owner_of(REPORT.id) is Owner.OTHER
        await heir.ownership.release(REPORT.id)
        assert await back.ownership.owner_of(REPORT.id) is Owner.NOBODY
        _, left = await back._etcd.list(back._keys.archives("")[: -len("/")])
        assert left == []
        assert await back.claim_report("RECORDING") is None
        assert not await back.finish_recording("RECORDING", [])


async def test_claims_of_a_failover_node_that_dies_return_to_the_first_node(run: Run) -> None:
    """What the first node had to tell it tells after all."""
    async with run("node-2") as dying:
        await dying.start_recording(recording(), [])
        await dying.stop_recording("RECORDING", WALL_NS + 1)
        assert await dying.claim_report("RECORDING") == []
        assert await dying.finish_recording("RECORDING", [REPORT])
    async with run("node-1") as heir:
        assert await heir.claim_report("RECORDING") == []
    async with run("node-2") as back:

        async def is_ours() -> bool:
            return await back.ownership.owner_of(REPORT.id) is Owner.SELF

        await until(is_ours)


async def test_the_report_waits_for_its_start_to_be_delivered(heir: EtcdStore) -> None:
    """So that a customer hears of both in their order, whichever nodes tell them."""
    await heir.start_recording(recording(), [STARTED])
    await heir.stop_recording("RECORDING", WALL_NS + 1)
    await heir.read_barrier()
    assert await heir._report_coordinator._end_part("RECORDING")
    assert not heir._report_coordinator._is_due("RECORDING")
    await heir.ownership.release(STARTED.id)
    assert heir._report_coordinator._is_due("RECORDING")


async def test_in_a_minority_a_node_delivers_what_it_owns_while_its_lease_is_valid(
    etcd: Servers, heir: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is, until its own lease may have run out."""
    await heir.start_recording(recording(), [STARTED])
    await heir.read_barrier()
    monkeypatch.setattr(heir._etcd, "_budget_s", 0.3)
    with etcd.paused(1, 2):
        await until(lambda: is_cut_off(heir))
        monkeypatch.setattr(heir._presence, "_up_until_s", float("inf"))
        assert await heir.ownership.owner_of(STARTED.id) is Owner.SELF
        with pytest.raises(MinorityError):
            await heir.ownership.owner_of(REPORT.id)
        monkeypatch.setattr(heir._presence, "_up_until_s", 0.0)
        with pytest.raises(MinorityError):
            await heir.ownership.owner_of(STARTED.id)


async def test_an_event_without_a_claim_is_owned_by_the_node_that_has_it(heir: EtcdStore) -> None:
    """It is of a time before the cluster, or its keys were lost."""
    assert await heir.ownership.owner_of(STARTED.id) is Owner.SELF
    await heir.ownership.release(STARTED.id)
