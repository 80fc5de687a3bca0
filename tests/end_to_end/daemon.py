"""The daemon in its own process, as a user starts it, and a webhook consumer in the test's."""

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
    """A consumer of webhooks: keeps every event and its headers, and lets a test wait for one.

    `answer` may have another answer for an event that it has just kept than 200; it may wait, too.
    """

    url: str = ""
    answer: Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        """Take one event."""
        event = await request.json()
        async with self._news:
            self.events.append(event)
            self.headers.append(dict(request.headers))
            self._news.notify_all()
        return web.Response() if self.answer is None else await self.answer(request, event)

    async def wait_for(self, event_type: str, count: int = 1, **data: Any) -> dict[str, Any]:
        """Give the `count`th event of this type whose data has these values."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.of_type(event_type, **data)) >= count)
        return self.of_type(event_type, **data)[count - 1]

    async def wait_until(self, is_enough: Callable[[], bool]) -> None:
        """Wait until what has come is enough."""
        async with self._news:
            await self._news.wait_for(is_enough)

    def once(self) -> list[dict[str, Any]]:
        """Give the events without those that came again, in the order of their first arrival."""
        return list({event["id"]: event for event in reversed(self.events)}.values())[::-1]

    def of_type(self, event_type: str, **data: Any) -> list[dict[str, Any]]:
        """Give the events of a type so far."""
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
    """Run a consumer on a free port."""
    consumer = Consumer()
    app = web.Application()
    app.router.add_post("/webhook", consumer.take)
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
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def api(self, operation: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call `Sora_20161101.{operation}`; give the answer's body. Raises for anything but 200."""
        data = msgspec.json.encode(body) if body is not None else None
        headers = {"x-sora-target": operation if "." in operation else f"Sora_20161101.{operation}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.api_url, data=data, headers=headers) as answer,
        ):
            answer.raise_for_status()
            return await answer.json()

    def whip_url(self, channel: str) -> str:
        """Where publishers by WHIP post their offers."""
        return self.signaling_url.replace("ws://", "http://").replace("/signaling", f"/whip/{channel}")

    @property
    def archive_dir(self) -> Path:
        """Where the files are."""
        return self.folder / "archive"

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Tell it to end; give its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def logged(self, event: str) -> None:
        """Wait until the daemon logs this event."""
        while all(line.get("event") != event for line in self.log):
            self.news.clear()
            await self.news.wait()

    def faults(self) -> Sequence[Mapping[str, Any]]:
        """Log lines that should not be there."""
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
        "max_connects_per_second": "100000",  # tests ask again and again, without a pause
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
        daemon.news.set()
        if entry.get("event") == "ready":
            assert entry["compiled"] == is_compiled(), "the daemon is not what this process would run"
            daemon.api_url = entry["api"]
            daemon.signaling_url = entry["signaling"]
            daemon.media_port = entry["media_port"]
            ready.set()
