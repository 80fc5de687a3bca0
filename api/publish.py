"""Publish a WebM clip to a channel by Sora's signalling: VP9 or VP8 and Opus are sent as they are."""

import argparse
import asyncio
import contextlib
import random
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import uvloop

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_S, Kind
from rokuga.recorder.publisher.clip import Clip, ClipError, read_clip
from rokuga.recorder.publisher.sender import Counts, Sender
from rokuga.recorder.publisher.source import Source, SourceNumbers
from rokuga.recorder.rtp.rtcp import build_goodbye
from rokuga.recorder.webrtc.dtls import Certificate
from rokuga.recorder.webrtc.outgoing import OutgoingPeer, PublishError, RemoteOffer, read_offer
from rokuga.recorder.webrtc.sdp import SdpError

TICK_S: Final = 0.005
RAMP_S: Final = 0.05
OFFER_S: Final = 10.0
GOODBYE_S: Final = 3.0
DEFAULT_URL: Final = "ws://127.0.0.1:5000/signaling"


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What to publish, and where to. `seconds` None: to the end of the clip; with `loop`, until stopped."""

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
    """One publisher from outside: its ids once it has an offer, whether it is sending, what it sent."""

    connection_id: str = ""
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)


async def publish(
    options: PublishOptions,
    clip: Clip,
    certificate: Certificate,
    publication: Publication | None = None,
) -> Publication:
    """Publish once, from connect to disconnect. Raises PublishError where the recorder refuses or goes away."""
    publication = publication or Publication()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(options.url, max_msg_size=1 << 20) as socket,
        ):
            await _converse(options, clip, certificate, publication, socket)
    except aiohttp.ClientError as error:
        raise PublishError(f"{options.url}: {error}") from error
    return publication


async def _converse(
    options: PublishOptions,
    clip: Clip,
    certificate: Certificate,
    publication: Publication,
    socket: aiohttp.ClientWebSocketResponse,
) -> None:
    """Connect, answer the offer, send; say goodbye at the end."""
    await _say(socket, _connect_message(options, clip))
    offer = await _expect_offer(socket)
    publication.connection_id = offer["connection_id"]
    remote = read_offer(offer["sdp"], {kind: track.codec_type for kind, track in clip.tracks.items()})
    sources = _sources(remote)
    if not sources:
        raise PublishError("the recorder takes neither the clip's audio nor its video")
    cname = secrets.token_hex(8)
    generator = random.Random(publication.connection_id)
    drop = (lambda: generator.random() < options.loss) if options.loss else None
    sender = Sender(clip, sources, cname, loop=options.loop, drop=drop)
    publication.counts = sender.counts
    started_ns = time.monotonic_ns()
    peer = OutgoingPeer(
        remote,
        certificate,
        lambda rtcp: _resend(peer, sender.feedback(rtcp, time.monotonic_ns() - started_ns)),
    )
    try:
        answer = peer.answer({kind: (s.ssrc, s.rtx_ssrc) for kind, s in sources.items()}, cname)
        await _say(socket, {"type": "answer", "sdp": answer})
        listening = asyncio.create_task(_listen(socket))
        try:
            await peer.connect()
            started_ns = time.monotonic_ns()
            publication.sending.set()
            await _send(options, sender, peer, publication, listening, started_ns)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await _say(socket, {"type": "disconnect", "reason": "NO-ERROR"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
    finally:
        await peer.close()


async def _send(
    options: PublishOptions,
    sender: Sender,
    peer: OutgoingPeer,
    publication: Publication,
    listening: "asyncio.Task[None]",
    started_ns: int,
) -> None:
    """Send what is due every few ms, until the end that was asked for."""
    limit_ns = None if options.seconds is None else int(options.seconds * NS_PER_S)
    while not publication.stop.is_set():
        media_ns = time.monotonic_ns() - started_ns
        if limit_ns is not None and media_ns >= limit_ns:
            break
        for packet in sender.packets(media_ns):
            peer.send_rtp(packet)
        for report in sender.reports(media_ns, time.time_ns()):
            peer.send_rtcp(report)
        if sender.is_over(media_ns):
            break
        if listening.done():
            listening.result()
        if peer.closed.is_set():
            raise PublishError("the recorder ended the DTLS connection")
        await asyncio.sleep(TICK_S)
    peer.send_rtcp(build_goodbye(sender.ssrcs))


def _resend(peer: OutgoingPeer, packets: Iterable[bytes]) -> None:
    for packet in packets:
        peer.send_rtp(packet)


def _sources(remote: RemoteOffer) -> Mapping[Kind, Source]:
    return {
        kind: Source(
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


async def _say(socket: aiohttp.ClientWebSocketResponse, message: Mapping[str, Any]) -> None:
    await socket.send_str(msgspec.json.encode(message).decode())


async def _expect_offer(socket: aiohttp.ClientWebSocketResponse) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(OFFER_S):
            while True:
                message = await _next(socket)
                if message.get("type") == "offer":
                    return message
    except TimeoutError:
        raise PublishError("no offer came") from None


async def _listen(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Answer pings until the socket closes. Raises PublishError then."""
    while True:
        message = await _next(socket)
        if message.get("type") == "ping":
            await _say(socket, {"type": "pong"})


async def _next(socket: aiohttp.ClientWebSocketResponse) -> Mapping[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise PublishError(f"the recorder closed the signalling: {socket.close_code} {message.extra or ''}".strip())
    try:
        return msgspec.json.decode(message.data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise PublishError(f"the recorder says what is no message: {error}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE.webm")
    parser.add_argument("--url", default=DEFAULT_URL, help="signalling (default: %(default)s)")
    parser.add_argument("--channel", default="sora", help="channel_id; {i} is the publisher's number")
    parser.add_argument("--client-id", help="client_id; the connection's id if not given")
    parser.add_argument("--seconds", type=float, help="how long to send (default: the clip)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end of the clip")
    parser.add_argument("--count", type=int, default=1, help="publishers, 50 ms apart")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets to lose at first sending")
    parser.add_argument("--no-audio", action="store_true")
    parser.add_argument("--no-video", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    """Publish; 0 if every publisher got to its end."""
    left_out = {kind for kind in ("audio", "video") if getattr(arguments, f"no_{kind}")}
    kinds: list[Kind] = [kind for kind in ("audio", "video") if kind not in left_out]
    try:
        clip = read_clip(arguments.file, kinds)
    except ClipError as error:
        print(error, file=sys.stderr)
        return 2
    options = [
        PublishOptions(
            file=arguments.file,
            url=arguments.url,
            channel_id=arguments.channel.replace("{i}", str(number)),
            client_id=arguments.client_id,
            seconds=arguments.seconds,
            loop=arguments.loop,
            kinds=kinds,
            loss=arguments.loss,
        )
        for number in range(arguments.count)
    ]
    return uvloop.run(_publish_all(options, clip))


async def _publish_all(options: Sequence[PublishOptions], clip: Clip) -> int:
    publications = [Publication() for _ in options]

    def stop() -> None:
        for publication in publications:
            publication.stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    certificate = Certificate.generateCertificate()
    results = await asyncio.gather(
        *(
            _publish_later(place * RAMP_S, publish(option, clip, certificate, publication))
            for place, (option, publication) in enumerate(zip(options, publications, strict=True))
        ),
        return_exceptions=True,
    )
    failed = 0
    for publication, result in zip(publications, results, strict=True):
        if isinstance(result, (PublishError, SdpError, OSError)):
            failed += 1
            print(f"{publication.connection_id or 'publisher'}: {result}", file=sys.stderr)
        elif isinstance(result, BaseException):
            raise result
        else:
            print(_summary(publication))
    return 1 if failed else 0


async def _publish_later(delay_s: float, publishing: Coroutine[Any, Any, Publication]) -> Publication:
    await asyncio.sleep(delay_s)
    return await publishing


def _summary(publication: Publication) -> str:
    counts = publication.counts
    return (
        f"{publication.connection_id}: {counts.units['video']} pictures, {counts.units['audio']} Opus packets in "
        f"{counts.packets} packets, {counts.bytes} bytes; {counts.dropped} lost on purpose, "
        f"{counts.retransmissions} sent again, {counts.keyframe_requests} requests for a key frame"
    )
