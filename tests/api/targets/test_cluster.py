"""The API of a node of a cluster."""

import json

import pytest

from rokuga.api.targets.dispatch import dispatch
from rokuga.api.targets.recordings import RecordingLimits
from rokuga.api.targets.table import TargetName, targets
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import NodeState
from tests.fakes_recorder import FakeRecorder

TABLE = targets(RecordingLimits())
BODIES = {
    "StartRecording": {"channel_id": "sora", "expire_time": 0},
    "DisconnectClient": {"channel_id": "sora", "client_id": "a"},
    "DisconnectConnection": {"channel_id": "sora", "connection_id": "a"},
    "RequestKeyFrame": {"channel_id": "sora", "connection_id": "a"},
}


@pytest.mark.parametrize("name", TABLE, ids=lambda name: name.operation)
async def test_every_target_answers_not_cluster_majority_in_a_minority(name: TargetName) -> None:
    recorder = FakeRecorder()
    recorder.has_majority = False
    body = json.dumps(BODIES.get(name.operation, {"channel_id": "sora"})).encode()
    answer = await dispatch(TABLE, recorder, name, body)
    assert (answer.status, answer.body) == (400, b'{"error_type":"NOT-CLUSTER-MAJORITY"}')
    assert recorder.recordings() == []


async def test_nodes_are_listed_as_sora_exporter_reads_them() -> None:
    """A node that is down has its name alone; without a cluster there are no nodes."""
    recorder = FakeRecorder()
    name = TargetName.parse("Sora_20211215.ListClusterNodes")
    assert (await dispatch(TABLE, recorder, name, b"")).body == b"[]"
    recorder.known_nodes = [
        NodeState("node-1", False),
        NodeState("node-2", True, "1.0", "ws://10.0.0.2:5000/signaling", "", 3, 1_709_251_200 * NS_PER_S),
    ]
    assert json.loads((await dispatch(TABLE, recorder, name, b"")).body) == [
        {"node_name": "node-1", "connected": False},
        {
            "node_name": "node-2",
            "connected": True,
            "mode": "normal",
            "temporary_node": False,
            "member_since": "2024-03-01T00:00:00.000000Z",
            "sora_version": "1.0",
            "cluster_signaling_url": "ws://10.0.0.2:5000/signaling",
        },
    ]
