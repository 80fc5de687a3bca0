"""A daemon in its own process, as a user starts it, and a webhook consumer in the test process."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from rokuga.api.compiled import is_compiled
from rokuga.devtools.loopback import loopback_environment
from rokuga.devtools.serving import serving

ROOT = Path(__file__).parent.parent.parent
CLIPS = ROOT / "media-samples"


@dataclass
class Consumer:
    """A webhook consumer that stores every event and its headers, and that tests wait on.

    `answer` may return another response than 200 to an event that is stored already; it may wait, too.
    """

    url: str = ""
    answer: Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        """Store one event."""
        event = await request.json()
        async with self._changed:
            self.events.append(event)
            self.headers.append(dict(request.headers))
            self._changed.notify_all()
        return web.Response() if self.answer is None else await self.answer(request, event)

    async def wait_for(self, event_type: str, count: int = 1, **data: Any) -> dict[str, Any]:
        """Wait for the `count`th event of this type whose data contains these values, and return it."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.of_type(event_type, **data)) >= count)
        return self.of_type(event_type, **data)[count - 1]

    async def wait_until(self, is_enough: Callable[[], bool]) -> None:
        """Wait until the predicate is true; it is evaluated after each event."""
        async with self._changed:
            await self._changed.wait_for(is_enough)

    def once(self) -> list[dict[str, Any]]:
        """Return the events without repeats, in the order of their first arrival."""
        return list({event["id"]: event for event in reversed(self.events)}.values())[::-1]

    def of_type(self, event_type: str, **data: Any) -> list[dict[str, Any]]:
        """Return the events of this type so far whose data contains these values."""
        return [
            event
            for event in self.events
            if event["type"] == event_type and all(event["data"].get(key) == value for key, value in data.items())
        ]

    @property
    def types(self) -> list[str]:
        """The types of all events in the order of their arrival."""
        return [event["type"] for event in self.events]


@contextlib.asynccontextmanager
async def consuming() -> AsyncIterator[Consumer]:
    """Serve a consumer on a free port."""
    consumer = Consumer()
    app = web.Application()
    app.router.add_post("/webhook", consumer.receive)
    async with serving(app) as address:
        consumer.url = f"http://{address}/webhook"
        yield consumer


@dataclass
class Daemon:
    """A running daemon. `api` calls a target of the legacy API."""

    process: asyncio.subprocess.Process
    folder: Path
    api_url: str = ""
    signaling_url: str = ""
    media_port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    log_changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def api(self, operation: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call `Sora_20161101.{operation}` and return the response body. Raises unless the status is 200."""
        data = msgspec.json.encode(body) if body is not None else None
        headers = {"x-sora-target": operation if "." in operation else f"Sora_20161101.{operation}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.api_url, data=data, headers=headers) as response,
        ):
            response.raise_for_status()
            return await response.json()

    def whip_url(self, channel: str) -> str:
        """Return the URL to which WHIP clients post their offers."""
        return self.signaling_url.replace("ws://", "http://").replace("/signaling", f"/whip/{channel}")

    @property
    def archive_dir(self) -> Path:
        """The folder of the recordings."""
        return self.folder / "archive"

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def logged(self, event: str) -> None:
        """Wait until the daemon logs this event."""
        while all(line.get("event") != event for line in self.log):
            self.log_changed.clear()
            await self.log_changed.wait()

    def faults(self) -> Sequence[Mapping[str, Any]]:
        """Return the log lines of level error."""
        return [line for line in self.log if line.get("level") in {"error", "critical"}]


class NotReadyError(AssertionError):
    """The daemon ended before it was ready."""


RUN = ("rokuga", "run")
"""The module to run, and its arguments."""


async def start(
    folder: Path, webhook_url: str = "", command: Sequence[str] = RUN, **settings: str
) -> asyncio.subprocess.Process:
    """Start a daemon on free ports with its files in `folder`; it is not ready yet."""
    settings = {
        "event_webhook_url": webhook_url,
        "log_format": "json",
        "max_connects_per_second": "100000",  # tests poll without a pause
        **settings,
    }
    environment = os.environ | loopback_environment(folder, **settings)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )


@contextlib.asynccontextmanager
async def running(
    folder: Path, webhook_url: str = "", command: Sequence[str] = RUN, **settings: str
) -> AsyncIterator[Daemon]:
    """Start a daemon on free ports with its files in `folder`; stop it at the end if it still runs.

    Raises NotReadyError.
    """
    process = await start(folder, webhook_url, command, **settings)
    daemon = Daemon(process, folder)
    ready = asyncio.Event()
    reading = asyncio.create_task(_read_log(daemon, ready))
    try:
        await asyncio.wait([asyncio.create_task(ready.wait()), reading], return_when=asyncio.FIRST_COMPLETED)
        if not ready.is_set():
            raise NotReadyError(daemon.log)
        yield daemon
    finally:
        if process.returncode is None:
            await daemon.stop()
        await reading


async def _read_log(daemon: Daemon, ready: asyncio.Event) -> None:
    assert daemon.process.stderr is not None
    async for line in daemon.process.stderr:
        try:
            entry = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            entry = {"level": "error", "event": line.decode(errors="replace")}
        daemon.log.append(entry)
        daemon.log_changed.set()
        if entry.get("event") == "ready":
            assert entry["compiled"] == is_compiled(), "the daemon runs another form of the package than this process"
            daemon.api_url = entry["api"]
            daemon.signaling_url = entry["signaling"]
            daemon.media_port = entry["media_port"]
            ready.set()
