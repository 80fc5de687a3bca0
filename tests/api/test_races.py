"""API and signalling with the real recorder and store, and clients without media: concurrent requests.

Sources: reports about other recorders (livekit/egress 502, janus-gateway 2550).
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rokuga.api.app import api_app, signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.service import Recorder
from rokuga.recorder.store.sqlite import SqliteStore
from tests.api.serving import served
from tests.support.peer import FakePeer

CONNECT = json.dumps({"type": "connect", "role": "sendonly", "channel_id": "sora", "audio": True, "video": True})
ANSWER = json.dumps({"type": "answer", "sdp": "v=0\r\n"})
DISCONNECT = json.dumps({"type": "disconnect", "reason": "NO-ERROR"})


class Daemon:
    """A daemon with a fake peer and without webhooks."""

    def __init__(self, recorder: Recorder, store: SqliteStore, session: aiohttp.ClientSession, folder: Path) -> None:
        self.recorder = recorder
        self.folder = folder
        self.api_url = ""
        self.signaling_url = ""
        self._store = store
        self._session = session

    async def call(self, operation: str, **request: Any) -> tuple[int, Any]:
        """Return status and response."""
        headers = {"x-sora-target": f"Sora_20161101.{operation}"}
        data = json.dumps(request) if request else None
        async with self._session.post(self.api_url, data=data, headers=headers) as response:
            return response.status, json.loads(await response.read())

    async def start(self) -> tuple[int, Any]:
        """Start the recording of the channel."""
        return await self.call("StartRecording", channel_id="sora", expire_time=0)

    async def stop(self) -> tuple[int, Any]:
        """Stop it."""
        return await self.call("StopRecording", channel_id="sora")

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        """Connect a client, up to our offer."""
        websocket = await self._session.ws_connect(self.signaling_url)
        await websocket.send_str(CONNECT)
        assert (await websocket.receive_json())["type"] == "offer"
        return websocket

    async def publish(self) -> aiohttp.ClientWebSocketResponse:
        """Connect a client, up to its own connection.created."""
        websocket = await self.connect()
        await websocket.send_str(ANSWER)
        assert (await websocket.receive_json())["event_type"] == "connection.created"
        return websocket

    async def disconnect(self, websocket: aiohttp.ClientWebSocketResponse) -> int | None:
        """Disconnect a client, and return the close code."""
        await websocket.send_str(DISCONNECT)
        while (await websocket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        await websocket.close()
        return websocket.close_code

    async def events(self, enough: Callable[[Counter[EventType]], bool]) -> list[Event]:
        """Wait for enough events of each type; return all."""
        while True:
            stored = [entry.event for entry in await self._store.events_after(0, 100_000)]
            if enough(Counter(event.type for event in stored)):
                return stored


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    config = RecorderConfig(archive_dir=tmp_path / "archive")
    async with (
        SqliteStore(tmp_path / "store.sqlite3") as store,
        Recorder(config, store, FakePeer, Clock(), lambda: None) as recorder,
        served(api_app(AppContext(recorder, DaemonConfig()))) as api,
        served(signaling_app(AppContext(recorder, DaemonConfig()))) as signaling,
        aiohttp.ClientSession() as session,
    ):
        daemon = Daemon(recorder, store, session, tmp_path)
        daemon.api_url, daemon.signaling_url = f"http://{api}/", f"ws://{signaling}/signaling"
        yield daemon


def assert_published_once(events: list[Event], recordings: int) -> None:
    """Check that each recording has one start and one report, each archive one end, and nothing follows a report."""
    kinds = Counter(event.type for event in events)
    assert kinds[EventType.RECORDING_STARTED] == kinds[EventType.RECORDING_REPORT] == recordings
    assert len({event.id for event in events}) == len(events)
    begun: dict[str, set[str]] = {}
    ended: dict[str, set[str]] = {}
    for event in events:
        recording_id = event.document.get("recording_id", "")
        connection_id = event.connection.connection_id if event.connection else ""
        match event.type:
            case EventType.ARCHIVE_STARTED:
                begun.setdefault(recording_id, set()).add(connection_id)
            case EventType.ARCHIVE_AVAILABLE | EventType.ARCHIVE_FAILED:
                ended.setdefault(recording_id, set()).add(connection_id)
            case EventType.RECORDING_REPORT:
                reported = [*event.document["archives"], *event.document["failed_archives"]]
                assert {archive["connection_id"] for archive in reported} == begun.get(recording_id, set())
                assert ended.get(recording_id, set()) == begun.get(recording_id, set())
    assert ended == begun


async def test_a_recording_that_stops_before_any_media_leaves_nothing(daemon: Daemon) -> None:
    """Both calls return, nothing is left active or empty on the disk, the next Start works."""
    rounds = 20
    for number in range(rounds):
        websocket = await daemon.connect()
        assert (await daemon.start())[0] == 200
        if number % 2:
            await websocket.send_str(ANSWER)
        assert (await daemon.stop())[0] == 200
        assert await daemon.disconnect(websocket) == 1000
        assert await daemon.call("ListStartedRecording") == (200, [])
    events = await daemon.events(lambda kinds: kinds[EventType.RECORDING_REPORT] == rounds)
    assert_published_once(events, rounds)
    assert not [path for path in daemon.folder.rglob("*.webm*") if not path.stat().st_size]


async def test_a_client_that_connects_while_the_recording_stops_ends_with_it(daemon: Daemon) -> None:
    """A concurrent join and stop: after the report nothing is archived."""
    rounds = 10
    for _ in range(rounds):
        await daemon.start()
        first, joining = await daemon.publish(), await daemon.connect()
        await asyncio.gather(joining.send_str(ANSWER), daemon.stop())
        assert await daemon.disconnect(first) == 1000
        assert await daemon.disconnect(joining) == 1000
    events = await daemon.events(lambda kinds: kinds[EventType.RECORDING_REPORT] == rounds)
    assert_published_once(events, rounds)
    assert await daemon.call("ListArchiving") == (200, [])


async def test_two_starts_at_once_are_one_recording(daemon: Daemon) -> None:
    answers = await asyncio.gather(*(daemon.start() for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200, *[400] * 7]
    assert {answer.get("error_type") for status, answer in answers if status == 400} == {"STARTED-RECORDING"}
    answers = await asyncio.gather(*(daemon.stop() for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200, *[400] * 7]
    assert {answer.get("error_type") for status, answer in answers if status == 400} == {"NOT-STARTED-RECORDING"}


async def test_any_order_of_starts_stops_and_clients_publishes_every_event_once(daemon: Daemon) -> None:
    """A hundred steps in a random order, several at a time; nothing is left at the end."""
    order = random.Random(20161101)
    inside: list[aiohttp.ClientWebSocketResponse] = []
    starts: list[int] = []

    async def step(kind: str) -> None:
        match kind:
            case "start":
                starts.append((await daemon.start())[0])
            case "stop":
                await daemon.stop()
            case "come":
                inside.append(await daemon.publish())
            case "go" if inside:
                await daemon.disconnect(inside.pop(order.randrange(len(inside))))
            case "drop" if inside:
                await inside.pop().close()

    for _ in range(25):
        await asyncio.gather(*(step(order.choice(["start", "stop", "come", "come", "go", "drop"])) for _ in range(4)))
    await asyncio.gather(*(daemon.disconnect(websocket) for websocket in inside))
    await daemon.stop()
    started = starts.count(200)
    events = await daemon.events(lambda kinds: kinds[EventType.RECORDING_REPORT] == started)
    assert started > 3
    assert_published_once(events, started)
    assert await daemon.call("ListArchiving") == (200, [])
    assert await daemon.call("ListStartedRecording") == (200, [])
