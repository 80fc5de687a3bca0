"""Limits of peers that are not connected, and which one is evicted."""

from collections.abc import Callable

from rokuga.recorder.webrtc.pending_peers import PendingPeers


class Peers:
    """Pending peers by name, and the evicted ones in order."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self.pending = PendingPeers(most, most_of_address)
        self.ended: list[str] = []

    def add(self, name: str, address: str) -> None:
        """Add a pending peer."""
        self.pending.add(address, lambda: self.ended.append(name))


def test_one_too_many_of_an_address_evicts_the_oldest_of_that_address() -> None:
    peers = Peers(100, 2)
    peers.add("other", "192.0.2.9")
    for n in range(5):
        peers.add(f"peer {n}", "192.0.2.1")
    assert peers.ended == ["peer 0", "peer 1", "peer 2"]
    assert (len(peers.pending), peers.pending.evicted) == (3, 3)


def test_one_too_many_in_all_evicts_the_oldest_of_the_address_that_has_the_most() -> None:
    """The only peer of an address stays, however old, beside a flood."""
    peers = Peers(4, 3)
    peers.add("alone", "192.0.2.9")
    for n in range(3):
        peers.add(f"first {n}", "192.0.2.1")
    peers.add("second 0", "2001:db8::1")
    peers.add("second 1", "2001:db8::2")
    peers.add("late", "192.0.2.8")
    assert peers.ended == ["first 0", "first 1", "second 0"]
    assert len(peers.pending) == 4


def test_loopback_has_only_the_limit_in_all() -> None:
    peers = Peers(4, 1)
    for n in range(5):
        peers.add(f"peer {n}", "127.0.0.1" if n % 2 else "::1")
    assert peers.ended == ["peer 0"]


def test_a_removed_peer_is_not_counted_any_more() -> None:
    pending = PendingPeers(1, 1)
    ended: list[int] = []
    for n in range(3):
        remove = pending.add("192.0.2.1", lambda n=n: ended.append(n))  # type: ignore[misc]
        remove()
        remove()
    assert (ended, len(pending)) == ([], 0)


def test_an_eviction_may_remove_the_peer_itself() -> None:
    pending = PendingPeers(1, 1)
    removals: list[Callable[[], None]] = []

    def evict() -> None:
        removals[0]()

    removals.append(pending.add("192.0.2.1", evict))
    pending.add("192.0.2.1", lambda: None)
    assert (len(pending), pending.evicted) == (1, 1)
