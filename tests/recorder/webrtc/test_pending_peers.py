"""Peers that are not connected: how many there may be, and which one goes."""

from collections.abc import Callable

from rokuga.recorder.webrtc.pending_peers import PendingPeers


class Peers:
    """Peers by name, and which were ended, in order."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self.pending = PendingPeers(most, most_of_address)
        self.ended: list[str] = []

    def come(self, name: str, address: str) -> None:
        """Have a peer come that is not connected."""
        self.pending.add(address, lambda: self.ended.append(name))


def test_one_too_many_of_an_address_ends_the_oldest_of_that_address() -> None:
    peers = Peers(100, 2)
    peers.come("other", "192.0.2.9")
    for n in range(5):
        peers.come(f"peer {n}", "192.0.2.1")
    assert peers.ended == ["peer 0", "peer 1", "peer 2"]
    assert (len(peers.pending), peers.pending.evicted) == (3, 3)


def test_one_too_many_in_all_ends_the_oldest_of_the_address_that_has_the_most() -> None:
    """Who comes alone stays, however old, beside a flood."""
    peers = Peers(4, 3)
    peers.come("alone", "192.0.2.9")
    for n in range(3):
        peers.come(f"first {n}", "192.0.2.1")
    peers.come("second 0", "2001:db8::1")
    peers.come("second 1", "2001:db8::2")
    peers.come("late", "192.0.2.8")
    assert peers.ended == ["first 0", "first 1", "second 0"]
    assert len(peers.pending) == 4


def test_loopback_has_the_limit_of_all_alone() -> None:
    peers = Peers(4, 1)
    for n in range(5):
        peers.come(f"peer {n}", "127.0.0.1" if n % 2 else "::1")
    assert peers.ended == ["peer 0"]


def test_who_is_connected_or_gone_counts_no_more() -> None:
    pending = PendingPeers(1, 1)
    ended: list[int] = []
    for n in range(3):
        leave = pending.add("192.0.2.1", lambda n=n: ended.append(n))  # type: ignore[misc]
        leave()
        leave()
    assert (ended, len(pending)) == ([], 0)


def test_an_end_that_says_so_itself_is_no_harm() -> None:
    pending = PendingPeers(1, 1)
    leaves: list[Callable[[], None]] = []

    def evict() -> None:
        leaves[0]()

    leaves.append(pending.add("192.0.2.1", evict))
    pending.add("192.0.2.1", lambda: None)
    assert (len(pending), pending.evicted) == (1, 1)
