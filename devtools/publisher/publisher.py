"""One publisher of a WebM clip over Sora's signalling, from connect to disconnect."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from rokuga.devtools.publisher.clip import Clip
from rokuga.devtools.publisher.pace import Pacer
from rokuga.devtools.publisher.sender import ClipSender, Counts, Run
from rokuga.devtools.publisher.source import OutgoingSource, SourceNumbers
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind
from rokuga.recorder.rtp.rtcp import build_goodbye
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer, read_offer
from rokuga.recorder.webrtc.sdp.offer_and_answer import SdpError

OFFER_TIMEOUT_S: Final = 10.0
DISCONNECT_TIMEOUT_S: Final = 3.0
CONNECT_TIMEOUT_S: Final = 10.0
DEFAULT_URL: Final = "ws://127.0.0.1:5000/signaling"


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What to publish, and where. `seconds` None: to the end of the clip; with `loop`, until stopped.

    `loss` is the share of datagrams to drop, both ways, from the handshake on.
    """

    file: Path
    url: str = DEFAULT_URL
    channel_id: str = "sora"
    client_id: str | None = None
    seconds: float | None = None
    loop: bool = False
    kinds: Sequence[Kind] = ("audio", "video")
    loss: float = 0.0


@dataclass(slots=True)
class Publication:
    """The state of one publisher: its id once it has an offer, since when it is sending, and what it has sent."""

    connection_id: str = ""
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    started_wall_ns: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)
    runs: Mapping[Kind, Sequence[Run]] = field(default_factory=dict)

    def begin(self) -> None:
        """Set the start to now, when the first packet is sent."""
        self.started_wall_ns = time.time_ns()
        self.sending.set()


class _RedirectedError(PublishError):
    """The recorder redirects us to another node."""

    def __init__(self, location: str) -> None:
        super().__init__(f"redirected to {location}, after a redirection")
        self.location = location


class _Offer(msgspec.Struct):
    """The fields of the offer message that are used."""

    sdp: str
    connection_id: str


async def publish(
    options: PublishOptions,
    clip: Clip,
    certificate: Certificate,
    publication: Publication | None = None,
) -> Publication:
    """Publish once, from connect to disconnect, on another node after a redirect.

    Raises PublishError if the recorder refuses or disconnects.
    """
    publication = publication or Publication()
    try:
        await _publish_to(options.url, options, clip, certificate, publication)
    except _RedirectedError as redirected:
        await _publish_to(redirected.location, options, clip, certificate, publication, redirect=True)
    return publication


async def _publish_to(
    url: str,
    options: PublishOptions,
    clip: Clip,
    certificate: Certificate,
    publication: Publication,
    **more: bool,
) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT_S)) as session,
            session.ws_connect(url, max_msg_size=1 << 20) as socket,
        ):
            await _send(socket, {**_connect_message(options, clip), **more})
            await _converse(options, clip, certificate, publication, socket)
    except (aiohttp.ClientError, OSError) as error:
        raise PublishError(f"{url}: {error}") from error
    except SdpError as error:
        raise PublishError(str(error)) from error


async def _converse(
    options: PublishOptions,
    clip: Clip,
    certificate: Certificate,
    publication: Publication,
    socket: aiohttp.ClientWebSocketResponse,
) -> None:
    """Answer the offer; send until the end of the clip, a stop, or the recorder's end."""
    offer = await _expect_offer(socket)
    publication.connection_id = offer.connection_id
    remote = read_offer(offer.sdp, {kind: track.codec_type for kind, track in clip.tracks.items()})
    sources = _sources(remote)
    if not sources:
        raise PublishError("the recorder takes neither the clip's audio nor its video")
    cname = secrets.token_hex(8)
    sender = ClipSender(clip, sources, cname, loop=options.loop)
    publication.counts, publication.runs = sender.counts, sender.runs
    pacer = Pacer(sender, remote, certificate, _loses(options.loss, sender.counts))
    answer = pacer.peer.answer({kind: (s.ssrc, s.rtx_ssrc) for kind, s in sources.items()}, cname)
    await _send(socket, {"type": "answer", "sdp": answer})
    work = asyncio.create_task(pacer.run(options.seconds, publication.begin))
    listening = asyncio.create_task(_listen(socket))
    stopping = asyncio.create_task(publication.stop.wait())
    tasks = (work, listening, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if work.done() and work.exception() is not None:
            await asyncio.wait([listening], timeout=DISCONNECT_TIMEOUT_S)  # it closes with the reason
        for task in (listening, work, stopping):
            if task.done():
                task.result()  # raises the error that ended it
        if publication.sending.is_set():
            pacer.peer.send_rtcp(build_goodbye(sender.ssrcs))
        await _send(socket, {"type": "disconnect", "reason": "NO-ERROR"})
        await asyncio.wait([listening], timeout=DISCONNECT_TIMEOUT_S)
    finally:
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await pacer.peer.close()


def _loses(share: float, counts: Counts) -> Callable[[], bool] | None:
    if not share:
        return None
    generator = random.Random()

    def loses() -> bool:
        is_lost = generator.random() < share
        counts.dropped += is_lost
        return is_lost

    return loses


def _sources(remote: RemoteOffer) -> Mapping[Kind, OutgoingSource]:
    return {
        kind: OutgoingSource(
            SourceNumbers(*(secrets.randbits(bits) for bits in (32, 32, 16, 32))),
            CODECS[track.codec_type].clock_rate_hz,
            track.payload_type,
            track.rtx_payload_type,
        )
        for kind, track in remote.tracks.items()
    }


def _connect_message(options: PublishOptions, clip: Clip) -> Mapping[str, Any]:
    message: dict[str, Any] = {
        "type": "connect",
        "role": "sendonly",
        "channel_id": options.channel_id,
        "sora_client": "Rokuga publisher",
        "audio": {"codec_type": clip.tracks["audio"].codec_type} if "audio" in clip.tracks else False,
        "video": {"codec_type": clip.tracks["video"].codec_type} if "video" in clip.tracks else False,
    }
    if options.client_id is not None:
        message["client_id"] = options.client_id
    return message


async def _send(socket: aiohttp.ClientWebSocketResponse, message: Mapping[str, Any]) -> None:
    await socket.send_str(msgspec.json.encode(message).decode())


async def _expect_offer(socket: aiohttp.ClientWebSocketResponse) -> _Offer:
    try:
        async with asyncio.timeout(OFFER_TIMEOUT_S):
            while True:
                message = await _receive(socket)
                if message.get("type") == "redirect":
                    raise _RedirectedError(str(message.get("location")))
                if message.get("type") == "offer":
                    return msgspec.convert(message, _Offer)
    except TimeoutError:
        raise PublishError("no offer came") from None
    except msgspec.ValidationError as error:
        raise PublishError(f"the offer is not as Sora's: {error}") from error


async def _listen(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Respond to pings until the socket closes. Raises PublishError then."""
    while True:
        message = await _receive(socket)
        if message.get("type") == "ping":
            await _send(socket, {"type": "pong"})


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> Mapping[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise PublishError(f"the recorder closed the signalling: {socket.close_code} {message.extra or ''}".strip())
    try:
        return msgspec.json.decode(message.data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise PublishError(f"the recorder says what is no message: {error}") from error
