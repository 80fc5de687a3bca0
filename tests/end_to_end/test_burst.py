"""Many publishers connect at once while as many are being recorded: handshakes cost no media packet."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon

pytestmark = pytest.mark.end_to_end

CLIP = CLIPS / "vp9-opus.webm"
KINDS: Sequence[Kind] = ("audio", "video")
SAMPLE_S = 0.01


def receive_queue(port: int) -> tuple[int, int]:
    """Return the bytes in the receive buffer of a port, and the datagrams that it dropped (proc_net_udp(5))."""
    for row in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = row.split()
        if int(fields[1].rsplit(":", 1)[1], 16) == port:
            return int(fields[4].split(":")[1], 16), int(fields[-1])
    raise LookupError(f"no socket has UDP port {port}")


async def sample_queue(port: int, seen: list[int]) -> None:
    """Append the size of the receive buffer, periodically."""
    while True:
        seen.append(receive_queue(port)[0])
        await asyncio.sleep(SAMPLE_S)


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.soak)])
async def test_a_burst_of_publishers_loses_no_packet(daemon: Daemon, consumer: Consumer, count: int) -> None:
    """The kernel drops nothing, and what the first publishers sent is stored byte for byte."""
    clip, certificate = read_clip(CLIP), Certificate.make()
    publications = [Publication() for _ in range(2 * count)]

    def begin(publication: Publication) -> "asyncio.Task[Publication]":
        options = PublishOptions(CLIP, daemon.signaling_url, "sora", loop=True)
        return asyncio.create_task(publish(options, clip, certificate, publication))

    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    first, second = publications[:count], publications[count:]
    tasks = [begin(publication) for publication in first]
    await consumer.wait_for("archive.started", count=count)
    queue: list[int] = []
    sampling = asyncio.create_task(sample_queue(daemon.media_port, queue))
    tasks += [begin(publication) for publication in second]
    await consumer.wait_for("archive.started", count=2 * count)
    sampling.cancel()
    _, dropped = receive_queue(daemon.media_port)
    for publication in publications:
        publication.stop.set()
    await asyncio.gather(*tasks)
    await daemon.api("StopRecording", {"channel_id": "sora"})
    await consumer.wait_for("archive.available", count=2 * count)
    print(f"{count} more: {max(queue)} bytes at most in the socket's buffer, {dropped} datagrams dropped")
    assert dropped == 0
    sent = {kind: readers.payloads(CLIP, kind) for kind in KINDS}
    for publication in first:
        available = consumer.of_type("archive.available")
        (stored,) = [event for event in available if event["connection_id"] == publication.connection_id]
        for kind in KINDS:
            payloads = readers.payloads(Path(stored["data"]["file_path"]), kind)
            assert len(payloads) >= publication.counts.units[kind] - 3, "the last may still have been under way"
            laps = len(payloads) // len(sent[kind]) + 1
            assert payloads == (sent[kind] * laps)[: len(payloads)]
        assert publication.counts.retransmissions == 0
