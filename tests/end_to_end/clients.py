"""Clients of others: sora-js-sdk in Chromium, sora_sdk, FFmpeg, GStreamer, the libdatachannel load generator."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from rokuga.devtools.serving import serving
from tests.end_to_end.daemon import ROOT, Daemon
from tests.machine import lacks

HERE = Path(__file__).parent
NPM = ROOT / ".tools" / "npm" / "node_modules"
MEDIA = ROOT / ".tools" / "media"
LOADGEN = ROOT.parent / "shared" / "loadgen"

Step = Mapping[str, Any]


def place(source: str | Path, target: str | Path) -> None:
    """Copy a file atomically: another test may be reading the target."""
    part = f"{target}.{os.getpid()}"
    shutil.copyfile(source, part)
    Path(part).replace(target)


@contextlib.asynccontextmanager
async def _serving() -> AsyncIterator[str]:
    """Serve the page and the SDK on a free port of 127.0.0.1, which is a secure context."""
    app = web.Application()

    async def sdk(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(NPM / "sora-js-sdk" / "dist" / "sora.js")

    async def page(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "browser" / "page.html")

    async def whip(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "browser" / "whip.js")

    async def medooze(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(NPM / "whip-whep" / "whip.js")

    async def eyevinn(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(NPM.parent / "eyevinn.mjs", headers={"content-type": "text/javascript"})

    app.router.add_get("/sora.js", sdk)
    app.router.add_get("/whip.js", whip)
    app.router.add_get("/medooze.js", medooze)
    app.router.add_get("/eyevinn.js", eyevinn)
    app.router.add_get("/page.html", page)
    async with serving(app) as address:
        yield f"http://{address}"


async def run_client(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run a client to its end and return its output. Raises if it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{command[0]} {process.returncode}: {err.decode(errors='replace')}"
    return out.decode()


async def publish_with_browser(
    daemon: Daemon, channel: str, steps: Sequence[Step], *flags: str, **options: str
) -> Any:
    """Publish from Chromium: connect, execute the steps, disconnect. Return the results of SDK and getStats().

    `flags` are those of Chromium.
    """
    driver = ROOT / ".tools" / "npm" / "drive.mjs"
    place(HERE / "browser" / "drive.mjs", driver)  # beside node_modules, where imports resolve
    async with _serving() as base:
        query = urlencode({"url": daemon.signaling_url, "channel": channel, **options})
        command = ("node", driver, f"{base}/page.html?{query}", json.dumps(steps))
        return json.loads(await run_client(*command, CHROMIUM_FLAGS=" ".join(flags)))


async def publish_with_ffmpeg(daemon: Daemon, channel: str, seconds: float, *options: str) -> Any:
    """Publish by WHIP from the FFmpeg inside PyAV, which has H.264 and Opus."""
    command = [sys.executable, HERE / "ffmpeg_publisher.py", daemon.whip_url(channel), seconds, *options]
    return json.loads(await run_client(*command))


async def publish_with_gstreamer(daemon: Daemon, channel: str, seconds: float, *options: str) -> Any:
    """Publish by WHIP from Debian's GStreamer, with Debian's Python."""
    command = gstreamer_command(daemon.whip_url(channel), seconds, *options)
    return json.loads(await run_client(*command, PYTHONPATH=""))


def gstreamer_command(url: str, seconds: float, *options: str) -> Sequence[object]:
    """Return the command that publishes from GStreamer to this URL."""
    return ["/usr/bin/python3", HERE / "gstreamer_publisher.py", url, seconds, *options]


async def publish_with_sdk(daemon: Daemon, channel: str, seconds: float, *options: str) -> Any:
    """Publish from the Python SDK, which is libwebrtc without a browser."""
    command = [sys.executable, HERE / "sdk_publisher.py", daemon.signaling_url, channel, seconds, *options]
    return json.loads(await run_client(*command))


def place_load_generator() -> Path | None:
    """Copy the independent load generator beside its dependencies; return its folder, None if there is none."""
    folder = ROOT / ".tools" / "npm" / "loadgen"
    if LOADGEN.exists():
        shutil.copytree(LOADGEN, folder, dirs_exist_ok=True, copy_function=place)
    return folder if (folder / "loadgen.mjs").exists() else None


async def generate_load(daemon: Daemon, channel: str, count: int, seconds: float, *options: str) -> Any:
    """Publish from the independent load generator; return its result line."""
    folder = place_load_generator()
    if folder is None:
        lacks("the independent load generator, which is no part of the project, is not beside this checkout")
    command = [
        "node", "loadgen.mjs", "--signal", "sora", "--url", daemon.signaling_url, "--count", count,
        "--seconds", seconds, "--opt", f"channel={channel}", "--bind", "127.0.0.1",
        "--video", MEDIA / "v.ivf", "--audio", MEDIA / "a.ogg", *options,
    ]  # fmt: skip
    lines = [json.loads(line) for line in (await run_client(*command, cwd=folder)).splitlines()]
    return next(line for line in lines if line["ev"] == "result")
