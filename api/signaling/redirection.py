"""Whether a client is sent to another node: to the one with the fewest clients, if it has clearly fewer than we."""

from collections.abc import Iterable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import NodeState

CLEARLY: Final = 2
"""So many fewer clients a node has to have, or a tenth of ours if that is more: a client's way there is not free."""

ARRIVAL_NS: Final = 3 * NS_PER_S
"""Whoever was sent to a node counts there for so long, since nodes say only once a second how many they have."""


class Redirection:
    """Decides for one node. Times are monotonic nanoseconds."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._sent: list[tuple[int, str]] = []

    def redirect_url(self, connections: int, nodes: Iterable[NodeState], now_ns: int) -> str | None:
        """Give the signalling URL to which the next client is to go, None if it is to stay.

        `connections` are ours, `nodes` those that are up. A node that does not say its URL gets nobody.
        """
        self._sent = [(sent_ns, name) for sent_ns, name in self._sent if now_ns - sent_ns < ARRIVAL_NS]
        names = [name for _, name in self._sent]
        counts = [
            (node.connections + names.count(node.node_name), node.node_name, node.signaling_url)
            for node in nodes
            if node.signaling_url and node.node_name != self._node_name
        ]
        if not counts:
            return None
        fewest, name, url = min(counts)
        if connections - fewest < max(CLEARLY, connections // 10):
            return None
        self._sent.append((now_ns, name))
        return url
