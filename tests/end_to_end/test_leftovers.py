"""What a client leaves behind in the daemon's memory: nothing, without the help of the cyclic collector.

What a cycle holds is freed when the collector comes round, which is rare on purpose (`tune_collector`), and a
connection's keys and buffers are memory that the collector does not see.
"""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.server import ServerProtocol

from rokuga.api.daemon import running
from rokuga.api.http.protocol import HttpProtocol
from rokuga.api.signaling.endpoint import SignalingSession
from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.connection import Connection
from rokuga.recorder.webrtc.dtls.srtp import SrtpReceiver
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.peer import WebRtcPeer
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.transport.flow import Flow
from tests.api.serving import config_in
from tests.end_to_end.daemon import CLIPS

pytestmark = pytest.mark.end_to_end

OF_A_CLIENT = (
    HttpProtocol,
    ServerProtocol,
    SignalingSession,
    Connection,
    WebRtcPeer,
    Flow,
    SrtpReceiver,
    Receiver,
    Archiver,
)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Leave only what counting references frees."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive() -> Counter[str]:
    """Count what there is of each type."""
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, OF_A_CLIENT))


@contextlib.asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[str]:
    """Run the daemon with a channel that is recorded; gives the signalling's URL."""
    async with running(config_in(folder)) as addresses:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                addresses.api_url,
                json={"channel_id": "sora", "expire_time": 0, "split_duration": 1},
                headers={"x-sora-target": "Sora_20161101.StartRecording"},
            ) as answer,
        ):
            assert answer.status == 200
        yield addresses.signaling_url


async def publish_a_little(url: str, *, is_cut: bool = False, **options: Any) -> None:
    """Publish until media flows, then leave, with a goodbye or without."""
    clip = read_clip(CLIPS / "vp9-opus.webm")
    publication = Publication()
    given = PublishOptions(Path(), url, loop=True, **options)
    publishing = asyncio.create_task(publish(given, clip, Certificate.make(), publication))
    await publication.sending.wait()
    if is_cut:
        publishing.cancel()
        await asyncio.wait([publishing])
    else:
        publication.stop.set()
        await publishing


async def connect(url: str, answer: str | None) -> None:
    """Take an offer; go, or give an answer and wait for what becomes of it."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({"type": "connect", "role": "sendonly", "channel_id": "sora"})
        assert (await socket.receive_json())["type"] == "offer"
        if answer is not None:
            await socket.send_json({"type": "answer", "sdp": answer})
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass


CLIENTS: Sequence[Callable[[str], Awaitable[None]]] = (
    publish_a_little,
    partial(publish_a_little, is_cut=True),
    partial(publish_a_little, channel_id="elsewhere"),
    partial(connect, answer=None),
    partial(connect, answer="v=0"),
)
"""Recorded and gone with a goodbye; cut off; not recorded; without an answer; with a useless one."""


async def left_since(before: Counter[str]) -> Counter[str]:
    """Give what is more than before, once nothing is, or some time has passed: clients leave beside the test."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(90):
            while alive() - before:  # noqa: ASYNC110  # that nothing is left is told by nothing
                await asyncio.sleep(0.02)
    return alive() - before


async def test_nothing_of_a_client_is_left(tmp_path: Path) -> None:
    """Three of each kind come and go; what the daemon holds is what it held before."""
    async with recording(tmp_path) as url:
        before = alive()
        await asyncio.gather(*(client(url) for client in CLIENTS for _ in range(3)))
        assert not await left_since(before)
