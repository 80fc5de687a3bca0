"""The course of a connection: its archive begins synchronously, and its events and files follow."""

from pathlib import Path

from rokuga.recorder.connection import Connection, ConnectionRequest
from rokuga.recorder.negotiation import TrackConfig
from tests import readers
from tests.support.peer import FakePeer
from tests.support.recorder import AVAILABLE, OPUS_20_MS, STARTED, Client, RecorderHarness


async def connect(harness: RecorderHarness) -> tuple[Connection, FakePeer]:
    """Connect a client whose media does not flow yet."""
    request = ConnectionRequest("sora", "sendonly", audio=TrackConfig("OPUS"))
    return await harness.recorder.connect(request), harness.peers[-1]


async def test_frames_are_recorded_from_the_first_packet_while_the_channel_is_locked(
    harness: RecorderHarness,
) -> None:
    """The archive is stored and announced when the lock is free, and has the frames from before."""
    await harness.start()
    connection, peer = await connect(harness)
    client = Client(connection, peer, harness.clock)
    async with harness.recorder.channels.hold("sora"):
        peer.hooks.on_connected()
        assert connection.archiver is not None
        connection.accept("v=0\r\n")
        for _ in range(5):
            client.send("audio", harness.clock.now_ns // 1_000_000, OPUS_20_MS + b"early")
            harness.clock.now_ns += 20_000_000
        assert await harness.events(STARTED) == []
    await harness.event(STARTED)
    await client.leave()
    available = await harness.event(AVAILABLE)
    packets = readers.packets(Path(available.document["file_path"]))["audio"]
    assert len(packets) == 5


async def test_the_first_audio_is_recorded_though_it_was_delayed_most(harness: RecorderHarness) -> None:
    """The later packets are 10 ms faster, so the first one appears to be from before the archive."""
    await harness.start()
    connection, peer = await connect(harness)
    client = Client(connection, peer, harness.clock)
    peer.hooks.on_connected()
    connection.accept("v=0\r\n")
    for number in range(5):
        client.send("audio", 20 * number, OPUS_20_MS + b"delayed")
        harness.clock.now_ns += 20_000_000 if number else 10_000_000
    await harness.event(STARTED)
    await client.leave()
    available = await harness.event(AVAILABLE)
    assert len(readers.packets(Path(available.document["file_path"]))["audio"]) == 5


async def test_no_archive_begins_for_a_channel_that_is_not_recorded(harness: RecorderHarness) -> None:
    connection, peer = await connect(harness)
    peer.hooks.on_connected()
    assert connection.archiver is None


async def test_an_archive_is_announced_after_the_connection(harness: RecorderHarness) -> None:
    await harness.start()
    await harness.connect()
    types = [str(event.type) for event in await harness.events()]
    assert types == ["recording.started", "connection.created", STARTED]
