"""Redirection: the choice of the node that serves a new client, by the number of clients (pure)."""

from collections.abc import Iterable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import NodeState

MIN_DIFFERENCE: Final = 2
"""A client is redirected to a node that has this many clients fewer, or a tenth of ours, if that is more."""

ARRIVAL_NS: Final = 3 * NS_PER_S
"""A redirected client counts as one of the other node's for so long: nodes report their clients once a second."""


class Redirection:
    """The redirections of one node. Times are monotonic nanoseconds."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._sent: list[tuple[int, str]] = []

    def redirect_url(self, connections: int, nodes: Iterable[NodeState], now_ns: int) -> str | None:
        """Return the signalling URL of the node with the fewest clients, None to serve the next client here.

        `connections` is the number of ours, `nodes` are those that are up. A node without a URL receives no clients.
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
        if connections - fewest < max(MIN_DIFFERENCE, connections // 10):
            return None
        self._sent.append((now_ns, name))
        return url
