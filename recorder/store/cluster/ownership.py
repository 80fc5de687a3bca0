"""Decides which node publishes a cluster singleton: the start of a recording, and its report.

A node claims the event when it occurs and releases the claim when the event is delivered. When that node is dead,
another one fails over: it claims the event and publishes it with the same id, which is derived. A node that comes
back checks its claims before it delivers.
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
    read_results,
    unchanged,
)
from rokuga.recorder.store.cluster.node_presence import NodePresence
from rokuga.recorder.store.cluster.shared_state import Claim, ClusterView, HeldClaim, Keys, decode_claim, encode

FINISHED_S: Final = 3600
"""How long a delayed request to start a recording that has finished is prevented from succeeding."""

FAILOVER_MARK_S: Final = 30 * 24 * 3600
"""A node that was down for longer than this may publish an event again that was failed over, with the same id."""


class Ownership:
    """The claims of a cluster, from the view of one node."""

    def __init__(self, etcd: Etcd, keys: Keys, view: ClusterView, presence: NodePresence) -> None:
        self._etcd = etcd
        self._keys = keys
        self._view = view
        self._presence = presence
        self._node_name = view.node_name

    def claim_new(self, event_type: EventType, recording_id: str) -> Json:
        """Return the operation that claims an event which no node has claimed, for a transaction."""
        claim = Claim(self._node_name, event_type, recording_id)
        return put(self._keys.claim(event_id(event_type, recording_id)), encode(claim))

    def is_owned_by_live_node(self, event_id: str) -> bool:
        """Return whether a node that is not dead has claimed an event, as of the last change of the watch."""
        held = self._view.claims.get(event_id)
        return held is not None and not self._is_dead(held.claim.node_name)

    def owned_events(self) -> Sequence[str]:
        """Return the ids of the events that this node has claimed, as of the last change of the watch."""
        return [event_id for event_id in self._view.claims if self._view.owns(event_id)]

    async def claim_report(self, recording_id: str) -> bool:
        """Claim an unclaimed report or that of a dead node; False if another node has it. Raises StoreError."""
        report = event_id(EventType.RECORDING_REPORT, recording_id)
        if self._view.owns(report) or self.is_owned_by_live_node(report):
            return self._view.owns(report)
        held = self._view.claims.get(report)
        return await self._compare_and_claim(Claim(self._node_name, EventType.RECORDING_REPORT, recording_id), held)

    async def take_over_from_dead_nodes(self) -> Sequence[str]:
        """Claim the starts that dead nodes did not deliver; return the ids of their recordings. Raises StoreError."""
        return [
            held.claim.recording_id
            for held in list(self._view.claims.values())
            if held.claim.event_type is EventType.RECORDING_STARTED
            and self._is_dead(held.claim.node_name)
            and await self._compare_and_claim(replace(held.claim, node_name=self._node_name), held)
        ]

    async def _compare_and_claim(self, claim: Claim, held: HeldClaim | None) -> bool:
        """Claim if nothing has changed. Repeated after a timeout, it finds its own claim and succeeds."""
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
        for found in read_results(answer):
            self._view.claims[event] = decode_claim(found)
        return self._view.owns(event)

    async def owner_of(self, event_id: str) -> Owner:
        """Return which node may deliver an event of this node's log, by a linearizable read. Raises StoreError.

        In a minority it is this node as long as its lease is valid: no other node has failed over.
        """
        key, published = self._keys.claim(event_id), self._keys.published(event_id)
        try:
            answer = await self._etcd.transact([], [read(key), read(published)])
        except MinorityError:
            if self._presence.has_valid_lease and self._view.owns(event_id):
                return Owner.SELF
            raise
        found = {each.key: each for each in read_results(answer)}
        if key not in found:
            return Owner.NOBODY if published in found else Owner.SELF
        self._view.claims[event_id] = held = decode_claim(found[key])
        if held.claim.node_name == self._node_name:
            return Owner.SELF
        if self._is_dead(held.claim.node_name) and await self._compare_and_claim(
            replace(held.claim, node_name=self._node_name), held
        ):
            return Owner.SELF
        return Owner.OTHER

    async def release(self, event_id: str) -> None:
        """Delete a claim of this node when its event is delivered or given up; with a report also the recording.

        Raises StoreError.
        """
        held = self._view.claims.get(event_id)
        if held is None or held.claim.node_name != self._node_name:
            return
        done = [delete(held.found.key)]
        if held.claim.is_inherited:
            done.append(await self.mark(self._keys.published(event_id), FAILOVER_MARK_S))
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
        """Return the operation that writes a key which expires after some seconds."""
        return put(key, self._node_name.encode(), await self._etcd.grant(seconds))

    def _is_dead(self, node_name: str) -> bool:
        return self._view.is_dead(node_name, asyncio.get_running_loop().time())
