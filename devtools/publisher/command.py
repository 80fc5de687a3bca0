"""Publish a WebM clip to a channel by Sora's signalling; VP9 or VP8 and Opus are sent without transcoding."""

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from rokuga.api.config.arguments import ratio
from rokuga.devtools.publisher.clip import Clip, ClipError, read_clip
from rokuga.devtools.publisher.publisher import DEFAULT_URL, Publication, PublishOptions, publish
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError

START_INTERVAL_S: Final = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE.webm")
    parser.add_argument("--url", default=DEFAULT_URL, help="signalling (default: %(default)s)")
    parser.add_argument("--channel", default="sora", help="channel_id; {i} is the publisher's number")
    parser.add_argument("--client-id", help="client_id, {i} as above (default: the connection_id)")
    parser.add_argument("--seconds", type=_positive, help="duration (default: the clip)")
    parser.add_argument("--loop", action="store_true", help="repeat the clip")
    parser.add_argument("--count", type=_count, default=1, help="publishers, 50 ms apart")
    parser.add_argument("--loss", type=ratio, default=0.0, help="share of datagrams to lose, both ways, 0 to 1")
    parser.add_argument("--no-audio", action="store_true")
    parser.add_argument("--no-video", action="store_true")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time to send for")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} publishers")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Publish; return 0 if every publisher finished, 1 if one was refused or disconnected, 2 for an unusable file."""
    kinds: list[Kind] = []
    if not arguments.no_audio:
        kinds.append("audio")
    if not arguments.no_video:
        kinds.append("video")
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
            client_id=arguments.client_id and arguments.client_id.replace("{i}", str(number)),
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
    certificate = Certificate.make()
    results = await asyncio.gather(
        *(
            _publish_later(place * START_INTERVAL_S, publish(option, clip, certificate, publication))
            for place, (option, publication) in enumerate(zip(options, publications, strict=True))
        ),
        return_exceptions=True,
    )
    failed = 0
    for publication, result in zip(publications, results, strict=True):
        if publication.connection_id:
            print(_summary(publication))
        if isinstance(result, PublishError):
            failed += 1
            print(f"{publication.connection_id or 'publisher'}: {result}", file=sys.stderr)
        elif isinstance(result, BaseException):
            raise result
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
