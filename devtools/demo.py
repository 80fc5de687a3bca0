"""Record a clip over real WebRTC on free ports, and show every event and file."""

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

import aiohttp
import av
import uvloop
from aiohttp import web

from rokuga.api.config.loader import DaemonConfig, load_config
from rokuga.api.daemon import running
from rokuga.api.logs import configure_logs
from rokuga.devtools.loopback import loopback_environment
from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.devtools.serving import serving
from rokuga.recorder.archive.container_table import container_of_file
from rokuga.recorder.webrtc.dtls.transport import Certificate

CHANNEL: Final = "demo"
REPORT_TIMEOUT_S: Final = 10.0
LINE_COLUMNS: Final = 64
"""The width of the progress line, which is overwritten."""


@dataclass(slots=True)
class PrintingConsumer:
    """A webhook consumer that prints its events; `reported` is set by recording.report."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    reported: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: web.Request) -> web.Response:
        """Receive one event."""
        event = await request.json()
        self.events.append(event)
        line = f"  webhook   {event['type']:<20} {_main_value(event | event['data'])}"
        print(f"\r{line:<{LINE_COLUMNS}}" if sys.stdout.isatty() else line)  # overwrites the progress line
        if event["type"] == "recording.report":
            self.reported.set()
        return web.Response()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--clip", type=Path, help="a WebM file to publish (default: a sample)")
    parser.add_argument("--nodes", type=int, choices=(1, 3, 5), default=1, help="show a cluster (needs etcd)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where archive and data are written")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return 0 if a file was recorded and announced."""
    configure_logs("console")
    logging.getLogger().setLevel(logging.WARNING)  # the demo prints what matters itself
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="rokuga-demo-"))
    clip = read_clip(arguments.clip or Path(str(resources.files("rokuga").joinpath("samples/vp9-opus.webm"))))
    if arguments.nodes > 1:
        from rokuga.devtools.demo_cluster import demo_cluster

        return uvloop.run(demo_cluster(clip, folder, arguments.nodes))
    return uvloop.run(_demo(clip, folder))


async def _demo(clip: Clip, folder: Path) -> int:
    async with consuming() as consumer, running(demo_config(folder, consumer.url)) as addresses:
        print(f"  daemon    API {addresses.api_url}  signalling {addresses.signaling_url}")
        started = await _call(addresses.api_url, "StartRecording", {"channel_id": CHANNEL, "expire_time": 0})
        print(f"  started   recording {started['recording_id']} of channel {CHANNEL}")
        options = PublishOptions(file=folder, url=addresses.signaling_url, channel_id=CHANNEL)
        publication = Publication()
        publishing = asyncio.create_task(publish(options, clip, Certificate.make(), publication))
        await _show_progress(publishing, publication, clip.duration_ns / 1e9)
        await publishing
        await _call(addresses.api_url, "StopRecording", {"channel_id": CHANNEL})
        print("  stopped")
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                await consumer.reported.wait()
        except TimeoutError:
            print("no recording.report arrived", file=sys.stderr)
            return 1
    return show_files(consumer, folder)


async def _show_progress(publishing: "asyncio.Task[Any]", publication: Publication, seconds: float) -> None:
    """Show the progress of the publisher in one line that is overwritten; on a terminal only."""
    if not sys.stdout.isatty():
        return
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not publishing.done():
        done = min((loop.time() - started) / seconds, 1.0)
        counts = publication.counts
        bar = "#" * int(done * 30)
        line = f"  recording [{bar:<30}] {done * seconds:4.1f} s  {counts.units['video']} pictures"
        print(f"\r{line:<{LINE_COLUMNS}}", end="", flush=True)
        await asyncio.wait([publishing], timeout=0.2)
    print()


def show_files(consumer: PrintingConsumer, folder: Path) -> int:
    """Print the files of the archive; return 0 if an archive was announced."""
    files = sorted(path for path in folder.rglob("archive/*/*") if path.is_file())
    for path in files:
        description = f"{path.stat().st_size} bytes"
        if container_of_file(path.name) is not None:
            description += f", {_media(path)}"
        print(f"  file      {path.name}  {description}")
    print(f"  everything is in {folder}")
    return 0 if any(event["type"] == "archive.available" for event in consumer.events) else 1


def _media(path: Path) -> str:
    with av.open(str(path)) as container:
        codecs = " + ".join(stream.codec_context.codec.canonical_name for stream in container.streams)
        return f"{(container.duration or 0) / 1e6:.2f} s, {codecs}"


def _main_value(data: Mapping[str, Any]) -> str:
    for key in ("reason", "filename", "recording_id", "connection_id"):
        if key in data:
            return f"{key} {data[key]}"
    return ""


def demo_config(folder: Path, webhook_url: str, **settings: str) -> DaemonConfig:
    """Return the default configuration with free ports, this folder, this consumer and these settings."""
    return load_config(None, loopback_environment(folder, event_webhook_url=webhook_url, **settings))[0]


@contextlib.asynccontextmanager
async def consuming() -> AsyncIterator[PrintingConsumer]:
    """Serve a consumer on a free port."""
    consumer = PrintingConsumer()
    app = web.Application()
    app.router.add_post("/webhook", consumer.receive)
    async with serving(app) as address:
        consumer.url = f"http://{address}/webhook"
        yield consumer


async def _call(url: str, operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = {"x-sora-target": f"Sora_20161101.{operation}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        response.raise_for_status()
        result: Mapping[str, Any] = await response.json()
        return result
