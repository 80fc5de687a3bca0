"""The counters of connections and events since the start of the process."""

from pathlib import Path

from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.negotiation import TrackConfig
from tests.support.recorder import running_recorder


async def test_connections_and_their_packets_are_counted_during_and_after_the_connection(tmp_path: Path) -> None:
    """Two connections of a channel are one session; one that never answers is a failed connection."""
    async with running_recorder(tmp_path) as harness:
        one, two = await harness.connect(), await harness.connect(video=None)
        one.peer.counters = {"video": {"received_packets": 7, "plis": 1}}
        two.peer.counters = {"audio": {"received_packets": 5}}
        never = await harness.recorder.connect(ConnectionRequest("other", "sendonly", audio=TrackConfig("OPUS")))
        before = await harness.recorder.counters()
        assert (before["connections"], before["connections_created"], before["sessions_created"]) == (2, 2, 2)
        assert before["received_packets"] == {"audio": 5, "video": 7}
        harness.clock.now_ns += 3 * NS_PER_S
        await one.leave()
        await never.close("TIMEOUT")
        two.peer.counters["audio"]["received_packets"] = 6
        after = await harness.recorder.counters()
    assert (after["connections"], after["connections_created"], after["connections_destroyed"]) == (1, 2, 1)
    assert (after["connections_failed"], after["sessions_destroyed"]) == (1, 1)
    assert after["connection_seconds"] == 3
    assert (after["received_packets"], after["plis"]) == ({"audio": 6, "video": 7}, {"audio": 0, "video": 1})


async def test_events_are_counted_by_type_when_they_are_committed(tmp_path: Path) -> None:
    async with running_recorder(tmp_path) as harness:
        await harness.start()
        client = await harness.connect()
        await client.play(200)
        going = await harness.recorder.counters()
        assert (going["recordings"], going["archives"]) == (1, 1)
        await client.leave()
        await harness.stop()
        counters = await harness.recorder.counters()
        told = [event.type.value for event in await harness.events()]
    assert (counters["recordings"], counters["archives"]) == (0, 0)
    assert isinstance(counters["events"], dict)
    assert {name: count for name, count in counters["events"].items() if count} == {
        name: told.count(name) for name in told
    }
