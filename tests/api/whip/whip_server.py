"""WHIP over real HTTP with a fake recorder, and captured requests of real clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from rokuga.api.app import signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.signaling.channels import ChannelMembers
from rokuga.api.whip.sessions import WhipSessions
from rokuga.recorder.clock import Clock
from rokuga.webhooks.auth import AuthWebhook
from tests.api.serving import served
from tests.fakes_recorder import FakeConnection, FakeRecorder

VECTORS = Path(__file__).parent.parent.parent / "vectors" / "whip"
CAPTURES = {
    path.stem: [json.loads(line) for line in path.read_text().splitlines()]
    for path in sorted(VECTORS.glob("*.jsonl"))
}
OFFER = str(CAPTURES["chromium"][0]["body"])
SDP = {"content-type": "application/sdp"}
TRICKLE = {"content_type": "application/trickle-ice-sdpfrag"}
FRAGMENT = str(CAPTURES["medooze"][1]["body"])


@dataclass
class Reply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """The problem document of a refusal, after a check of its fields."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert set(problem) == {"type", "title", "status", "detail"}
        assert problem["status"] == self.status
        return problem


@dataclass
class WhipServer:
    """The signalling port over a fake recorder, with an HTTP client."""

    recorder: FakeRecorder
    channels: ChannelMembers
    base: str
    http: aiohttp.ClientSession

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; check that pages of all origins may read the response."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        url = urljoin(f"{self.base}/whip/lab", path)
        async with self.http.request(method, url, data=body, headers=names) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read())
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["server"] == "Rokuga"
        return reply

    async def publish(self, offer: Any = OFFER, channel: str = "lab", **headers: str) -> Reply:
        """Post an offer."""
        return await self.send("POST", f"/whip/{channel}", offer, content_type="application/sdp", **headers)

    @property
    def connection(self) -> FakeConnection:
        """The only connection that was created."""
        [connection] = self.recorder.people
        return connection


@asynccontextmanager
async def serving_whip(
    config: DaemonConfig | None = None, authenticator: AuthWebhook | None = None
) -> AsyncIterator[WhipServer]:
    recorder, channels = FakeRecorder(), ChannelMembers(Clock())
    async with WhipSessions(channels) as sessions:
        app = signaling_app(
            AppContext(
                recorder,
                config or DaemonConfig(),
                channels=channels,
                authenticator=authenticator,
                whip_sessions=sessions,
            )
        )
        async with served(app) as address, aiohttp.ClientSession(skip_auto_headers=["content-type"]) as http:
            yield WhipServer(recorder, channels, f"http://{address}", http)


async def until(holds: Any) -> None:
    """Wait for the tasks of the server."""
    while not holds():  # noqa: ASYNC110  # only its effect can be observed
        await asyncio.sleep(0)
