"""A client of the API over real HTTP."""

import io
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp

from tests.fakes_recorder import FakeRecorder

START = "Sora_20161101.StartRecording"
STOP = "Sora_20161101.StopRecording"
GET = "Sora_20161101.GetStartedRecording"
LIST = "Sora_20161101.ListStartedRecording"
ARCHIVING = "Sora_20161101.ListArchiving"
ORIGIN = "http://127.0.0.1:5000"
GIVEN = {"channel_id": "sora", "expire_time": 0}


class Caller:
    """A client of the API."""

    def __init__(self, recorder: FakeRecorder, session: aiohttp.ClientSession, url: str) -> None:
        self.recorder = recorder
        self._session = session
        self._url = url

    async def call(
        self,
        target: str | None,
        body: Any = None,
        *,
        method: str = "POST",
        path: str = "/",
        more_headers: Iterable[tuple[str, str]] = (),
    ) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body, headers. `body` is bytes, chunks, or a value to be encoded as JSON."""
        data = body
        if not isinstance(body, AsyncIterator | None):
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        headers = [("x-sora-target", target)] if target is not None else []
        headers += more_headers
        async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
            named = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.read(), named


async def started(caller: Caller, **request: Any) -> str:
    """Start a recording; return its id."""
    status, body, _ = await caller.call(START, request)
    assert status == 200
    return str(json.loads(body)["recording_id"])
