"""A publisher reports why it was refused, follows a redirect, and resends lost packets."""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rokuga.api.daemon import running
from rokuga.devtools.publisher import publisher as publishing
from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.devtools.publisher.sender import played
from rokuga.devtools.serving import serving
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport, MediaOffer, write_offer
from tests import readers
from tests.api.serving import config_in

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "media-samples" / "vp9-opus.webm"

Play = Callable[[web.WebSocketResponse], Awaitable[None]]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return read_clip(CLIP)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.make()


@contextlib.asynccontextmanager
async def playing(play: Play) -> AsyncIterator[str]:
    """Serve a recorder that receives `connect` and then runs `play`; yield its address."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert (await websocket.receive_json())["type"] == "connect"
        await play(websocket)
        return websocket

    app = web.Application()
    app.router.add_get("/signaling", talk)
    async with serving(app) as address:
        yield f"ws://{address}/signaling"


def offer(video: str = "VP9", port: int = 9) -> dict[str, Any]:
    """Return an offer of a recorder that does not exist."""
    transport = LocalTransport("u" * 8, "p" * 24, ":".join(["AB"] * 32), [Candidate("127.0.0.1", port)])
    media = MediaOffer(None, TrackConfig(video), mid_suffix="1")
    return {"type": "offer", "connection_id": "ID", "sdp": write_offer(media, transport, session_id=1)}


async def refuse(websocket: web.WebSocketResponse) -> None:
    await websocket.close(code=4490, message=b"NO-SUCH-CHANNEL")


async def end_after_the_answer(websocket: web.WebSocketResponse) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        await websocket.send_json(offer(port=silent.getsockname()[1]))
        assert (await websocket.receive_json())["type"] == "answer"
        await websocket.close(code=4490, message=b"INVALID-SDP")


async def send_invalid_json(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str("{")
    await websocket.receive()


async def send_a_list(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str("[]")
    await websocket.receive()


async def offer_without_sdp(websocket: web.WebSocketResponse) -> None:
    await websocket.send_json({"type": "offer", "connection_id": "ID"})
    await websocket.receive()


async def offer_no_sdp(websocket: web.WebSocketResponse) -> None:
    await websocket.send_json({"type": "offer", "connection_id": "ID", "sdp": "v=9"})
    await websocket.receive()


async def offer_another_codec(websocket: web.WebSocketResponse) -> None:
    await websocket.send_json(offer("H264"))
    await websocket.receive()


async def offer_an_unreachable_address(websocket: web.WebSocketResponse) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        await websocket.send_json(offer(port=unused.getsockname()[1]))
        await websocket.receive()
        await websocket.receive()


async def send_nothing(websocket: web.WebSocketResponse) -> None:
    await websocket.send_json({"type": "ping"})
    await websocket.receive()


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (refuse, "4490 NO-SUCH-CHANNEL"),
        (end_after_the_answer, "4490 INVALID-SDP"),
        (send_invalid_json, "what is no message"),
        (send_a_list, "what is no message"),
        (offer_without_sdp, "the offer is not as Sora's.*sdp"),
        (offer_no_sdp, "the offer has no m-line"),
        (offer_another_codec, "takes neither"),
        (offer_an_unreachable_address, "no candidate of the offer answers"),
        (send_nothing, "no offer came"),
    ],
)
async def test_a_refusal_is_reported_with_its_reason(
    clip: Clip, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, play: Play, reason: str
) -> None:
    """Any failure is one PublishError with one reason."""
    monkeypatch.setattr(publishing, "OFFER_TIMEOUT_S", 0.2 if play is send_nothing else 10)
    publication = Publication()
    async with playing(play) as url:
        with pytest.raises(PublishError, match=reason):
            await publish(PublishOptions(CLIP, url), clip, certificate, publication)
    assert not publication.sending.is_set()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/signaling", "nonsense", "http://127.0.0.1:1", "ws://[::"])
async def test_an_unreachable_url_is_reported(clip: Clip, certificate: Certificate, url: str) -> None:
    with pytest.raises(PublishError) as raised:
        await publish(PublishOptions(CLIP, url), clip, certificate)
    assert str(raised.value).startswith(f"{url}: ")


async def test_a_server_that_speaks_no_websocket_is_a_refusal(clip: Clip, certificate: Certificate) -> None:
    async with playing(refuse) as url:
        with pytest.raises(PublishError, match="404"):
            await publish(PublishOptions(CLIP, url + "/elsewhere"), clip, certificate)


async def test_a_redirection_is_followed_once(clip: Clip, certificate: Certificate) -> None:
    """To a closed port, an invalid URL, or a recorder that redirects again: each is an error with its reason."""
    locations: list[Any] = ["ws://127.0.0.1:1/signaling", "nonsense", None]

    async def redirect(websocket: web.WebSocketResponse) -> None:
        await websocket.send_json({"type": "redirect", "location": locations.pop(0)})
        await websocket.close()

    async with playing(redirect) as url:
        options = PublishOptions(CLIP, url, "sora")
        for fault in ("127.0.0.1:1/signaling", "nonsense", "None"):
            with pytest.raises(PublishError, match=fault):
                await publish(options, clip, certificate)
        locations += [url, "ws://third/"]
        with pytest.raises(PublishError, match="redirected to ws://third/, after a redirection"):
            await publish(options, clip, certificate)
    assert locations == []


async def test_a_publisher_can_be_stopped_while_it_connects(clip: Clip, certificate: Certificate) -> None:
    """Its connectivity checks get no response; it disconnects at once, in order."""
    heard: list[Any] = []
    publication = Publication()

    async def offer_silence(websocket: web.WebSocketResponse) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            await websocket.send_json(offer(port=silent.getsockname()[1]))
            heard.append(await websocket.receive_json())
            publication.stop.set()
            heard.append(await websocket.receive_json())
            await websocket.close(code=1000, message=b"TYPE-DISCONNECT")

    async with playing(offer_silence) as url:
        await publish(PublishOptions(CLIP, url), clip, certificate, publication)
    assert [message["type"] for message in heard] == ["answer", "disconnect"]
    assert publication.connection_id == "ID"


async def call(url: str, operation: str) -> None:
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    body = {"channel_id": "sora", "expire_time": 0}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        answer.raise_for_status()


@pytest.mark.end_to_end
async def test_lost_packets_are_repaired(tmp_path: Path, clip: Clip, certificate: Certificate) -> None:
    """A tenth of all datagrams is lost, both ways: losses are repaired, and all units are in order."""
    async with running(config_in(tmp_path)) as addresses:
        await call(addresses.api_url, "StartRecording")
        options = replace(PublishOptions(CLIP, addresses.signaling_url), loss=0.1, seconds=3.0)
        publication = await publish(options, clip, certificate)
        await call(addresses.api_url, "StopRecording")
    counts = publication.counts
    assert counts.dropped > 20
    assert counts.retransmissions > 10
    (file,) = (tmp_path / "archive").rglob("*.webm")
    stored = readers.packets(file)
    for kind, track in clip.tracks.items():
        units = played(track, clip.duration_ns, publication.runs[kind], 0, counts.units[kind])
        wanted = [track.units[place].data for place, _ in units]
        found = [data for data, _, _ in stored[kind]]
        # Nobody can miss what came before the first packet, nor ask for the last one when the publisher is gone.
        assert len(found) > len(wanted) - 45
        remaining = iter(wanted)
        assert all(data in remaining for data in found), "not what was sent, in its order"
