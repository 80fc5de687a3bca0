"""Limits the peers whose DTLS is not up yet."""

from collections.abc import Callable
from typing import Final

from rokuga.recorder.webrtc.transport.addresses import remote_network_of

MAX_PENDING: Final = 1024
MAX_PENDING_OF_ADDRESS: Final = 512
"""Of one address that is not loopback; of IPv6, of one /64. Many clients behind a proxy or a NAT may connect at once,
and each is pending for a second or two."""


class PendingPeers:
    """The peers that are not connected, by the address that they signal from.

    One too many of an address evicts the oldest of that address; one too many in all evicts the oldest of the address
    that has the most, so that a flood from one address evicts no peer of another.
    """

    def __init__(self, most: int = MAX_PENDING, most_of_address: int = MAX_PENDING_OF_ADDRESS) -> None:
        self.evicted = 0
        self._most = most
        self._most_of_address = most_of_address
        self._count = 0
        self._next = 0
        self._evict: dict[bytes, dict[int, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, address: str, evict: Callable[[], None]) -> Callable[[], None]:
        """Count a peer; `evict` ends it. Return the function that removes it from the count, safe to repeat."""
        network = remote_network_of(address)
        number = self._next = self._next + 1
        self._evict.setdefault(network, {})[number] = evict
        self._count += 1
        if network and len(self._evict[network]) > self._most_of_address:
            self._evict_oldest(network)
        elif self._count > self._most:
            self._evict_oldest(max(self._evict, key=lambda each: len(self._evict[each])))
        return lambda: self._remove(network, number)

    def _evict_oldest(self, network: bytes) -> None:
        number, evict = next(iter(self._evict[network].items()))
        self._remove(network, number)
        self.evicted += 1
        evict()

    def _remove(self, network: bytes, number: int) -> None:
        peers = self._evict.get(network, {})
        if peers.pop(number, None) is not None:
            self._count -= 1
            if not peers:
                del self._evict[network]
