"""Invalid input is refused or dropped, and a recording in progress is not affected."""

import asyncio
import io
import random
import socket
from pathlib import Path

import aiohttp
import pytest

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon

pytestmark = pytest.mark.end_to_end

HOSTILE_FRAMES: list[str | bytes] = [
    "",
    "{",
    "[]",
    "null",
    '"x"',
    '{"type":"connect"}',
    '{"type":1}',
    '{"type":"answer","sdp":"v=0"}',
    "x" * 200_000,
    b"\x00\xff",
]


def hostile_datagrams(count: int) -> list[bytes]:
    """Return random datagrams of all sizes, that begin like STUN, DTLS, SRTP, RTCP or nothing known."""
    generator = random.Random(7)
    firsts = [b"\x00\x01", b"\x01\x01", b"\x14\xfe", b"\x16\xfe\xfd", b"\x80\x7a", b"\x80\xc8", b"\xff", b""]
    return [
        generator.choice(firsts) + generator.randbytes(generator.choice([0, 1, 2, 18, 20, 100, 1200, 1600, 9000]))
        for _ in range(count)
    ]


async def send_datagrams(port: int) -> None:
    """Send random datagrams to the media port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        loop = asyncio.get_running_loop()
        for datagram in hostile_datagrams(3000):
            await loop.sock_sendto(sender, datagram, ("127.0.0.1", port))


async def send_frames(url: str) -> list[int | None]:
    """Send invalid frames on signalling connections; return the close codes."""
    codes = []
    async with aiohttp.ClientSession() as session:
        for frame in HOSTILE_FRAMES:
            async with session.ws_connect(url) as socket_:
                await (socket_.send_bytes(frame) if isinstance(frame, bytes) else socket_.send_str(frame))
                await socket_.receive()
                codes.append(socket_.close_code)
    return codes


async def send_requests(url: str) -> list[int]:
    """Send invalid requests to the API; return the statuses."""
    target = {"x-sora-target": "Sora_20161101.StartRecording"}
    bodies = [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"channel_id":1}',
        b'{"channel_id":"a","expire_time":true}',
        b"[" * 100_000,
    ]
    statuses = []
    async with aiohttp.ClientSession() as session:
        for body in bodies:
            async with session.post(url, data=body, headers=target) as answer:
                statuses.append(answer.status)
        async with session.post(url, data=io.BytesIO(b" " * 9_000_000), headers=target) as answer:
            statuses.append(answer.status)
        async with session.get(url) as answer:
            statuses.append(answer.status)
    return statuses


async def test_a_recording_is_not_affected_by_invalid_input_on_all_ports(daemon: Daemon, consumer: Consumer) -> None:
    """On the media port, the signalling and the API, while a clip is published: every picture is stored."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    clip = read_clip(CLIPS / "vp9-opus.webm")
    publication = Publication()
    options = PublishOptions(Path(), daemon.signaling_url, "sora")
    publishing = asyncio.create_task(publish(options, clip, Certificate.make(), publication))
    await publication.sending.wait()
    _, codes, statuses = await asyncio.gather(
        send_datagrams(daemon.media_port), send_frames(daemon.signaling_url), send_requests(daemon.api_url)
    )
    assert set(codes) == {4490}
    assert statuses == [400] * 7 + [413, 400]
    await publishing
    await daemon.api("StopRecording", {"channel_id": "sora"})
    available = await consumer.wait_for("archive.available")
    file = Path(available["data"]["file_path"])
    for kind in ("audio", "video"):
        assert readers.payloads(file, kind) == readers.payloads(CLIPS / "vp9-opus.webm", kind)
