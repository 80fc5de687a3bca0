"""ListClusterNodes, in the form that sora_exporter reads (collector/cluster_node.go, main_test.go)."""

from collections.abc import Mapping
from typing import Any, Final

from rokuga.api.protocols import RecordingService
from rokuga.api.targets.json_schema import FLAG, TEXT, object_of
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.models import NodeState

NODE: Final = object_of(
    {"node_name": TEXT, "connected": FLAG},
    {
        **dict.fromkeys(("mode", "member_since", "sora_version", "cluster_signaling_url", "cluster_api_url"), TEXT),
        "temporary_node": FLAG,
    },
)


async def list_nodes(recorder: RecordingService, _request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """ListClusterNodes: every node that has ever joined; empty without a cluster."""
    return [_node(node) for node in await recorder.nodes()]


def _node(node: NodeState) -> Mapping[str, Any]:
    """Return a node; of one that is down, its name and `connected` alone."""
    if not node.is_alive:
        return {"node_name": node.node_name, "connected": False}
    shown: dict[str, Any] = {
        "node_name": node.node_name,
        "connected": True,
        "mode": "normal",
        "temporary_node": False,
        "member_since": rfc3339(node.since_wall_ns),
        "sora_version": node.version,
    }
    if node.signaling_url:
        shown["cluster_signaling_url"] = node.signaling_url
    if node.api_url:
        shown["cluster_api_url"] = node.api_url
    return shown
