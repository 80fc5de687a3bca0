"""Who tells what is told once for the whole cluster: the start of a recording, and its report.

A claim is held from the moment that there is something to tell until it is delivered. When its holder dies, another
node inherits it, and tells the same event: ids are derived. Whoever comes back from the dead asks before it tells.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from rokuga.recorder.events import EventType, event_id
from rokuga.recorder.store import MinorityError, Owner
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_wire import (
    Json,
    absent,
    delete,
    delete_all,
    present,
    put,
    read,
    unchanged,
    values_read,
)
from rokuga.recorder.store.cluster.node_presence import NodePresence
from rokuga.recorder.store.cluster.shared_state import Claim, ClusterView, HeldClaim, Keys, decode_claim, encode

FINISHED_S: Final = 3600
"""So long a start that was on its way when its recording was already over is kept from winning."""

FAILOVER_MARK_S: Final = 30 * 24 * 3600
"""A node that was dead for longer than this may tell again what its heir told, under the same id."""


class Ownership:
    """The claims of a cluster, as one node sees and takes them."""

    def __init__(self, etcd: Etcd, keys: Keys, view: ClusterView, presence: NodePresence) -> None:
        self._etcd = etcd
        self._keys = keys
        self._view = view
        self._presence = presence
        self._node_name = view.node_name

    def claim_new(self, event_type: EventType, recording_id: str) -> Json:
        """Do: claim an event that nobody has claimed, as part of a transaction."""
        claim = Claim(self._node_name, event_type, recording_id)
        return put(self._keys.claim(event_id(event_type, recording_id)), encode(claim))

    def is_owned_by_live_node(self, event_id: str) -> bool:
        """Whether a node that is not dead has claimed an event, as far as we have heard."""
        held = self._view.claims.get(event_id)
        return held is not None and not self._is_dead(held.claim.node_name)

    def owned_events(self) -> Sequence[str]:
        """Give the events that we have claimed, as far as we have heard."""
        return [event_id for event_id in self._view.claims if self._view.is_ours(event_id)]

    async def claim_report(self, recording_id: str) -> bool:
        """Claim the report, from nobody or from a dead node; False where another node was faster.

        Raises StoreError.
        """
        report = event_id(EventType.RECORDING_REPORT, recording_id)
        if self._view.is_ours(report) or self.is_owned_by_live_node(report):
            return self._view.is_ours(report)
        held = self._view.claims.get(report)
        return await self._compare_and_claim(Claim(self._node_name, EventType.RECORDING_REPORT, recording_id), held)

    async def take_over_from_dead_nodes(self) -> Sequence[str]:
        """Take over the starts that dead nodes did not live to tell; give their recordings. Raises StoreError."""
        return [
            held.claim.recording_id
            for held in list(self._view.claims.values())
            if held.claim.event_type is EventType.RECORDING_STARTED
            and self._is_dead(held.claim.node_name)
            and await self._compare_and_claim(replace(held.claim, node_name=self._node_name), held)
        ]

    async def _compare_and_claim(self, claim: Claim, held: HeldClaim | None) -> bool:
        """Compare and move. Asked again after a timeout it finds its own claim, and has it."""
        event = event_id(claim.event_type, claim.recording_id)
        key, value = self._keys.claim(event), encode(replace(claim, is_inherited=held is not None))
        answer = await self._etcd.transact(
            [
                present(self._keys.recording(claim.recording_id)),
                absent(key) if held is None else unchanged(held.found),
            ],
            [put(key, value), read(key)],
            [read(key)],
        )
        for found in values_read(answer):
            self._view.claims[event] = decode_claim(found)
        return self._view.is_ours(event)

    async def owner_of(self, event_id: str) -> Owner:
        """Say whether an event that we have is ours to tell, by what a majority says. Raises StoreError.

        In a minority it is, as long as our lease cannot have run out: nobody has inherited it.
        """
        key, told = self._keys.claim(event_id), self._keys.told(event_id)
        try:
            answer = await self._etcd.transact([], [read(key), read(told)])
        except MinorityError:
            if self._presence.is_surely_up and self._view.is_ours(event_id):
                return Owner.SELF
            raise
        found = {each.key: each for each in values_read(answer)}
        if key not in found:
            return Owner.NOBODY if told in found else Owner.SELF
        self._view.claims[event_id] = held = decode_claim(found[key])
        if held.claim.node_name == self._node_name:
            return Owner.SELF
        if self._is_dead(held.claim.node_name) and await self._compare_and_claim(
            replace(held.claim, node_name=self._node_name), held
        ):
            return Owner.SELF
        return Owner.OTHER

    async def release(self, event_id: str) -> None:
        """Let go of a claim of ours, for its event is delivered or given up; with a report goes its recording.

        Raises StoreError.
        """
        held = self._view.claims.get(event_id)
        if held is None or held.claim.node_name != self._node_name:
            return
        done = [delete(held.found.key)]
        if held.claim.is_inherited:
            done.append(await self.mark(self._keys.told(event_id), FAILOVER_MARK_S))
        if held.claim.event_type is EventType.RECORDING_REPORT:
            done += await self._delete_recording(held.claim.recording_id)
        await self._etcd.transact([unchanged(held.found)], done)
        self._view.claims.pop(event_id, None)

    async def _delete_recording(self, recording_id: str) -> Sequence[Json]:
        keys = self._keys
        return [
            delete(keys.recording(recording_id)),
            delete_all(keys.parts(recording_id)),
            delete_all(keys.archives(recording_id)),
            await self.mark(keys.finished(recording_id), FINISHED_S),
        ]

    async def mark(self, key: str, seconds: int) -> Any:
        """Do: write a key that goes by itself after some time."""
        return put(key, self._node_name.encode(), await self._etcd.grant(seconds))

    def _is_dead(self, node_name: str) -> bool:
        return self._view.is_dead(node_name, asyncio.get_running_loop().time())
