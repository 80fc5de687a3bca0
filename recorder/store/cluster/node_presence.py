"""Keeps the key that shows the other nodes that this one is up: on a lease, and written every second.

The write also shows whether this node belongs to a majority, and keeps the watches of all nodes from timing out.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from rokuga.recorder.clock import Clock
from rokuga.recorder.models import NodeState
from rokuga.recorder.retry import RetryPolicy, retry
from rokuga.recorder.store import MinorityError, StoreError
from rokuga.recorder.store.cluster.etcd_client import Etcd
from rokuga.recorder.store.cluster.etcd_wire import put
from rokuga.recorder.store.cluster.shared_state import Keys, encode

log = structlog.get_logger()

RENEW_S: Final = 1.0
RETRY: Final = RetryPolicy((StoreError,), first_pause_s=0.3, resource="cluster majority")


class NodePresence:
    """The presence of one node. `connections` counts its clients; `has_majority` is the outcome of the last call."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        node: NodeState,
        instance: str,
        ttl_s: int,
        connections: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._node = node
        self._instance = instance
        self._connections = connections
        self._clock = clock
        self._lease: str | None = None
        self._up_until_s = 0.0
        self.ttl_s = ttl_s
        self.has_majority = False

    async def join(self) -> None:
        """Write the key, if a majority is reachable. Raises StoreError if another node that is up has this name."""
        end_s = asyncio.get_running_loop().time() + self.ttl_s + 2
        try:
            while await self._is_name_used():
                if asyncio.get_running_loop().time() > end_s:
                    raise StoreError(
                        f"another node that is up is called {self._node.node_name}: node_name must differ"
                    )
                await self._clock.sleep(RENEW_S)
            await self._renew()
        except MinorityError as error:
            log.warning("this node sees no majority of its cluster", reason=str(error))

    async def _is_name_used(self) -> bool:
        """Return whether a node with another disk has this name. A key of this node from before is overwritten."""
        found = await self._etcd.get(self._keys.node(self._node.node_name))
        if found is None:
            return False
        try:
            owner = msgspec.json.decode(found.value or b"").get("instance")
        except (msgspec.DecodeError, AttributeError):
            return False
        return bool(owner != self._instance)

    def majority_lost(self) -> None:
        """Assume that there is no majority until the next write."""
        self.has_majority = False

    @property
    def has_valid_lease(self) -> bool:
        """Whether the lease cannot have expired, by this node's own clock: no other node has failed over."""
        return asyncio.get_running_loop().time() < self._up_until_s

    async def run(self) -> None:
        """Write the key every second; ends by cancellation."""
        while True:
            await retry(self._renew_or_lose_majority, RETRY, self._clock, name="renew the lease of this node")
            await self._clock.sleep(RENEW_S)

    async def _renew_or_lose_majority(self) -> None:
        try:
            await self._renew()
        except StoreError:
            self.has_majority = False
            raise

    async def _renew(self) -> None:
        """Renew the lease, or create another one, and write the key. Raises StoreError."""
        now_s = asyncio.get_running_loop().time()
        if self._lease is None or not await self._etcd.keep_alive(self._lease):
            self._lease = await self._etcd.grant(self.ttl_s)
            member = encode(replace(self._node, is_alive=False))
            await self._etcd.transact([], [put(self._keys.members + self._node.node_name, member)])
        node = replace(self._node, connections=self._connections())
        value = encode(msgspec.to_builtins(node) | {"instance": self._instance})
        await self._etcd.transact([], [put(self._keys.node(self._node.node_name), value, self._lease)])
        self._up_until_s = now_s + self.ttl_s
        if not self.has_majority:
            log.info("this node belongs to the majority of its cluster")
        self.has_majority = True

    async def leave(self) -> None:
        """Delete the key. Raises StoreError."""
        if self._lease is not None:
            await self._etcd.revoke(self._lease)
