"""A connection leaves no reference cycles in the daemon.

Objects in cycles are freed by the cyclic collector alone, which runs rarely (`tune_garbage_collection`) and does
not count the memory of a connection's keys and buffers.
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
    """Disable the cyclic collector, so that reference counting alone frees objects."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def live_objects() -> Counter[str]:
    """Return the number of objects of each type of `OF_A_CLIENT`."""
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, OF_A_CLIENT))


@contextlib.asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[str]:
    """Run a daemon that records a channel; yield the signalling URL."""
    async with running(config_in(folder)) as addresses:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                addresses.api_url,
                json={"channel_id": "sora", "expire_time": 0, "split_duration": 1},
                headers={"x-sora-target": "Sora_20161101.StartRecording"},
            ) as response,
        ):
            assert response.status == 200
        yield addresses.signaling_url


async def publish_briefly(url: str, *, is_cut: bool = False, **options: Any) -> None:
    """Publish until media flows, then disconnect, orderly or abruptly."""
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
    """Receive an offer; disconnect, or send an answer and wait for the end."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({"type": "connect", "role": "sendonly", "channel_id": "sora"})
        assert (await socket.receive_json())["type"] == "offer"
        if answer is not None:
            await socket.send_json({"type": "answer", "sdp": answer})
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass


CLIENTS: Sequence[Callable[[str], Awaitable[None]]] = (
    publish_briefly,
    partial(publish_briefly, is_cut=True),
    partial(publish_briefly, channel_id="elsewhere"),
    partial(connect, answer=None),
    partial(connect, answer="v=0"),
)
"""Recorded; disconnected abruptly; not recorded; without an answer; with an invalid one."""


async def remaining_since(before: Counter[str]) -> Counter[str]:
    """Wait until no more objects exist than before, or for 90 s; return those in excess."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(90):
            while live_objects() - before:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.02)
    return live_objects() - before


async def test_no_object_of_a_client_remains(tmp_path: Path) -> None:
    """Three clients of each kind connect and disconnect."""
    async with recording(tmp_path) as url:
        before = live_objects()
        await asyncio.gather(*(client(url) for client in CLIENTS for _ in range(3)))
        assert not await remaining_since(before)
