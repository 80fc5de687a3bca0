"""The choice of the node for a client."""

import pytest

from rokuga.api.signaling.redirection import ARRIVAL_NS, Redirection
from rokuga.recorder.models import NodeState


def node(name: str, connections: int, url: str | None = None) -> NodeState:
    return NodeState(name, True, "", f"ws://{name}/signaling" if url is None else url, "", connections)


@pytest.mark.parametrize(
    ("ours", "theirs", "goes"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (5, 4, False), (99, 91, False), (99, 90, True), (3, 9, False)],
)
def test_a_client_is_redirected_only_to_a_node_with_clearly_fewer(ours: int, theirs: int, goes: bool) -> None:
    location = Redirection("a").redirect_url(ours, [node("a", ours), node("b", theirs)], 0)
    assert location == ("ws://b/signaling" if goes else None)


def test_a_client_is_redirected_to_the_node_with_the_fewest() -> None:
    nodes = [node("a", 9), node("b", 4), node("c", 3), node("d", 5)]
    assert Redirection("a").redirect_url(9, nodes, 0) == "ws://c/signaling"


@pytest.mark.parametrize("nodes", [[], [node("a", 0)], [node("b", 0, "")]])
def test_a_node_without_a_url_receives_no_clients(nodes: list[NodeState]) -> None:
    assert Redirection("a").redirect_url(100, nodes, 0) is None


def test_simultaneous_clients_are_spread_before_the_nodes_report_them() -> None:
    """A redirected client counts as the other node's until that node has reported it."""
    redirection, nodes = Redirection("a"), [node("b", 0), node("c", 1)]
    sent = [redirection.redirect_url(5, nodes, number) for number in range(8)]
    assert [sent.count(f"ws://{name}/signaling") for name in "bc"] == [4, 3]
    assert sent[7] is None
    assert redirection.redirect_url(5, nodes, ARRIVAL_NS) == "ws://b/signaling"
