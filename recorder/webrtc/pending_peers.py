"""Peers whose DTLS is not up yet: how many there may be, and which goes for a new one."""

import socket
from collections.abc import Callable
from typing import Final

MAX_PENDING: Final = 1024
MAX_PENDING_OF_ADDRESS: Final = 512
"""Of one address that is not loopback; of IPv6, of one /64. A proxy or a NAT can have many clients that come at once,
and a client is pending for a second or two."""


class PendingPeers:
    """The peers that are not connected, by the address that they signal from.

    One too many of an address ends the oldest of that address; one too many in all ends the oldest of the address
    that has the most, so that who comes alone is never ended for a flood from elsewhere.
    """

    def __init__(self, most: int = MAX_PENDING, most_of_address: int = MAX_PENDING_OF_ADDRESS) -> None:
        self.evicted = 0
        self._most = most
        self._most_of_address = most_of_address
        self._count = 0
        self._next = 0
        self._evict: dict[str | bytes, dict[int, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, address: str, evict: Callable[[], None]) -> Callable[[], None]:
        """Count a peer; `evict` ends it. Return what is to be called when it is pending no more; safe to repeat."""
        key = source_of(address)
        number = self._next = self._next + 1
        self._evict.setdefault(key, {})[number] = evict
        self._count += 1
        if key and len(self._evict[key]) > self._most_of_address:
            self._evict_oldest(key)
        elif self._count > self._most:
            self._evict_oldest(max(self._evict, key=lambda each: len(self._evict[each])))
        return lambda: self._remove(key, number)

    def _evict_oldest(self, key: str | bytes) -> None:
        number, evict = next(iter(self._evict[key].items()))
        self._remove(key, number)
        self.evicted += 1
        evict()

    def _remove(self, key: str | bytes, number: int) -> None:
        peers = self._evict.get(key, {})
        if peers.pop(number, None) is not None:
            self._count -= 1
            if not peers:
                del self._evict[key]


def source_of(address: str) -> str | bytes:
    """Return what counts as one source: an IPv4 address, the /64 of an IPv6 one, "" for loopback and the unknown."""
    plain = address.partition("%")[0]
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in plain else socket.AF_INET, plain)
    except OSError:
        return ""
    if packed[:12] == bytes(10) + b"\xff\xff":  # an IPv4 address as a socket for both shows it
        packed = packed[12:]
    if packed[:1] == b"\x7f" and len(packed) == 4:
        return ""
    if len(packed) == 16:
        return "" if packed == bytes(15) + b"\x01" else packed[:8]
    return packed
