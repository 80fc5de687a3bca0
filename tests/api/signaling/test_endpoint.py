"""Signalling over real WebSockets: a client's conversation, and everything that can end it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rokuga.api.app import signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.signaling.channels import ChannelMembers
from rokuga.api.signaling.conversation import ANSWER_TIMEOUT_NS, PING_INTERVAL_NS
from rokuga.api.signaling.endpoint import SignalingEndpoint
from rokuga.recorder.clock import Clock
from tests.api.serving import served
from tests.fakes_recorder import FakeConnection, FakeRecorder

VECTORS = Path(__file__).parents[2] / "vectors" / "signaling"
CONNECT = {"type": "connect", "role": "sendonly", "channel_id": "sora"}
ANSWER = {"type": "answer", "sdp": "v=0\r\n"}


class SignalingServer:
    """The signalling port over a fake recorder."""

    def __init__(self, recorder: FakeRecorder, url: str) -> None:
        self.recorder = recorder
        self.url = url

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        """Connect a WebSocket."""
        async with connect(self.url, max_size=None) as websocket:
            yield Client(websocket)

    @asynccontextmanager
    async def connected(self, **more: Any) -> AsyncIterator["Client"]:
        """Connect a client, up to its own connection.created."""
        async with self.client() as client:
            await client.send({**CONNECT, **more})
            client.offer = await client.receive()
            await client.send(ANSWER)
            created = await client.receive()
            assert (created["event_type"], created["connection_id"]) == (
                "connection.created",
                client.offer["connection_id"],
            )
            yield client


class Client:
    """The client's end of a WebSocket."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.offer: dict[str, Any] = {}

    async def send(self, message: Any) -> None:
        """Send a text or bytes, or a value as JSON."""
        await self.websocket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Receive the next message."""
        message: dict[str, Any] = json.loads(await self.websocket.recv())
        return message

    async def closing(self) -> tuple[int, str]:
        """Wait for the close, ignoring other messages."""
        with suppress(ConnectionClosed):
            while True:
                await self.websocket.recv()
        assert self.websocket.close_code is not None
        return self.websocket.close_code, self.websocket.close_reason or ""


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    recorder = FakeRecorder()
    async with served(signaling_app(AppContext(recorder, DaemonConfig()))) as address:
        yield SignalingServer(recorder, f"ws://{address}/signaling")


class ManualTime:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_ns = 0


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
async def timed_server(time: ManualTime) -> AsyncIterator[SignalingServer]:
    recorder = FakeRecorder()
    clock = Clock(monotonic_ns=lambda: time.now_ns)
    context = AppContext(recorder, DaemonConfig(), clock, channels=ChannelMembers(clock))
    endpoint = SignalingEndpoint(context)
    async with served(Starlette(routes=[WebSocketRoute("/signaling", endpoint)])) as address:
        yield SignalingServer(recorder, f"ws://{address}/signaling")


async def ended(connection: FakeConnection) -> str:
    return await connection.wait_ended()


async def test_a_client_connects_publishes_and_disconnects(server: SignalingServer) -> None:
    async with server.connected(video={"codec_type": "VP9", "bit_rate": 500}) as client:
        [connection] = server.recorder.people
        assert client.offer["sdp"] == connection.offer_sdp
        assert client.offer["connection_id"] == connection.identity.connection_id
        assert client.offer["mid"] == dict(connection.mids)
        assert connection.answers == ["v=0\r\n"]
        await client.send({"type": "candidate", "candidate": "candidate:1 1 udp 1 192.0.2.2 5 typ host"})
        await client.send({"type": "disconnect", "reason": "NO-ERROR"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")
        assert await ended(connection) == "TYPE-DISCONNECT"
        assert connection.close_detail == "NO-ERROR"


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.jsonl")))
async def test_real_clients_are_served(server: SignalingServer, name: str) -> None:
    """The offer turns off simulcast, spotlight and DataChannels, and the client publishes."""
    connect_frame, answer_frame, *rest = VECTORS.joinpath(f"{name}.jsonl").read_text().splitlines()
    async with server.client() as client:
        await client.send(connect_frame)
        offer = await client.receive()
        assert (offer["type"], offer["simulcast"], offer["spotlight"]) == ("offer", False, False)
        assert "data_channels" not in offer
        await client.send(answer_frame)
        created = await client.receive()
        assert created["connection_id"] == offer["connection_id"]
        assert created["video"] == (offer["video"] and name != "python_sdk_rejects_video")
        for frame in rest or ['{"type":"disconnect"}']:
            await client.send(frame)
        assert await client.closing() == (1000, "TYPE-DISCONNECT")


async def test_members_are_notified_after_dtls_only(server: SignalingServer) -> None:
    server.recorder.answer_connects = False
    async with server.client() as client:
        await client.send(CONNECT)
        await client.receive()
        await client.send(ANSWER)
        async with server.client() as other:
            await other.send(CONNECT)
            await other.receive()
            await other.send(ANSWER)
            await arrives(lambda: len(server.recorder.people) == 2 and server.recorder.people[1].answers)
            server.recorder.people[1].connected.set()
            first = await other.receive()
            assert (first["channel_connections"], first["data"]) == (1, [])
            server.recorder.people[0].connected.set()
            own = await client.receive()
            assert (own["channel_connections"], len(own["data"])) == (2, 1)


async def arrives(condition: Callable[[], object]) -> None:
    """Run the event loop until a condition holds."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event to wait on
        await asyncio.sleep(0.001)


async def test_members_of_a_channel_are_notified_of_one_another(server: SignalingServer) -> None:
    async with server.connected() as first:
        async with server.connected(
            role="recvonly", client_id="viewer", signaling_notify_metadata={"n": 1}
        ) as second:
            created = await first.receive()
            assert (created["client_id"], created["role"], created["metadata"]) == ("viewer", "recvonly", {"n": 1})
            assert created["channel_connections"] == 2
            await second.send({"type": "disconnect"})
        destroyed = await first.receive()
        assert (destroyed["event_type"], destroyed["client_id"]) == ("connection.destroyed", "viewer")
        assert destroyed["channel_connections"] == 1


@pytest.mark.parametrize(
    "more",
    [{"simulcast": True, "simulcast_rid": "r0"}, {"spotlight": True}, {"data_channel_signaling": True}],
)
async def test_an_answer_may_reject_a_kind(server: SignalingServer, more: dict[str, Any]) -> None:
    """Notifications have the tracks that are sent, not those that were offered."""
    async with server.client() as client:
        await client.send({**CONNECT, **more})
        await client.receive()
        await client.send({"type": "answer", "sdp": "v=0\r\nm=audio 9\r\nm=video 0\r\n"})
        created = await client.receive()
        assert (created["audio"], created["video"]) == (True, False)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("nonsense", "the message is not JSON"),
        (b"\x00\xff\xfe", "the message is not JSON"),
        ("", "the message is not JSON"),
        ("[" * 500_000, "Expected `object`, got `array`"),
        ('{"type":"pong"}', "the first message has to be a connect"),
        (json.dumps({**CONNECT, "audio": False, "video": False}), "audio and video are both false"),
        (json.dumps({**CONNECT, "video": {"codec_type": "H265"}}), "video codec_type H265 is not supported"),
        (json.dumps({**CONNECT, "channel_id": "x" * 256}), "channel_id is longer than 255 bytes"),
        (json.dumps({**CONNECT, "role": "x" * 500}), "Invalid enum value"),
    ],
)
async def test_an_invalid_first_message_closes_with_a_reason(
    server: SignalingServer, frame: str | bytes, reason: str
) -> None:
    async with server.client() as client:
        await client.send(frame)
        code, told = await client.closing()
        assert code == 4490
        assert told.startswith(reason)
    assert server.recorder.requests == []


async def test_a_message_above_the_limit_closes_the_websocket(server: SignalingServer) -> None:
    async with server.client() as client:
        await client.send("x" * (1 << 21))
        assert (await client.closing())[0] == 1009


async def test_a_pong_of_20_kilobytes_with_infinities_is_accepted(server: SignalingServer) -> None:
    async with server.connected() as client:
        await client.send('{"type":"pong","stats":[' + '{"remoteTimestamp":-inf},' * 1000 + '{"x":nan}]}')
        await client.send({"type": "disconnect"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")


@pytest.mark.parametrize("frame", ["nonsense", json.dumps(CONNECT), json.dumps(ANSWER)])
async def test_an_invalid_later_message_ends_the_connection(server: SignalingServer, frame: str) -> None:
    async with server.connected() as client:
        await client.send(frame)
        code, reason = await client.closing()
        assert code == 4490
        assert await ended(server.recorder.people[0]) == reason


async def test_a_refusal_of_the_recorder_is_the_close_reason(server: SignalingServer) -> None:
    server.recorder.refusal = "SHUTDOWN"
    async with server.client() as client:
        await client.send(CONNECT)
        assert await client.closing() == (4490, "SHUTDOWN")


async def test_an_invalid_answer_closes_with_its_fault(server: SignalingServer) -> None:
    async with server.client() as client:
        await client.send(CONNECT)
        await client.receive()
        await client.send({"type": "answer", "sdp": "nonsense"})
        assert await client.closing() == (4490, "the answer cannot be read")
        await ended(server.recorder.people[0])


@pytest.mark.parametrize(
    ("reason", "code"), [("DISCONNECTED-API", 1000), ("MEDIA-TIMEOUT", 4490), ("INTERNAL-ERROR", 1011)]
)
async def test_the_websocket_closes_with_the_peer(server: SignalingServer, reason: str, code: int) -> None:
    async with server.connected() as client, server.connected() as other:
        await client.receive()
        server.recorder.people[0].stop(reason)
        assert await client.closing() == (code, reason)
        assert (await other.receive())["event_type"] == "connection.destroyed"


@pytest.mark.parametrize("is_connected", [False, True])
async def test_the_connection_ends_with_the_websocket(server: SignalingServer, is_connected: bool) -> None:
    """A killed client sends no disconnect; its file must be finished nevertheless."""
    server.recorder.answer_connects = is_connected
    async with server.client() as client:
        await client.send(CONNECT)
        await client.receive()
        await client.send(ANSWER)
        if is_connected:
            await client.receive()
        client.websocket.transport.abort()
        assert await ended(server.recorder.people[0]) == "WEBSOCKET-CLOSED"


async def test_a_client_that_closes_without_a_disconnect_is_removed(server: SignalingServer) -> None:
    async with server.connected() as client:
        await client.websocket.close()
        assert await ended(server.recorder.people[0]) == "WEBSOCKET-CLOSED"


async def test_a_client_that_does_not_answer_times_out(timed_server: SignalingServer, time: ManualTime) -> None:
    async with timed_server.client() as client:
        await client.send(CONNECT)
        await client.receive()
        time.now_ns = ANSWER_TIMEOUT_NS
        await client.send({"type": "candidate"})
        assert await client.closing() == (4490, "TIMEOUT")
        assert await ended(timed_server.recorder.people[0]) == "TIMEOUT"


async def test_pings_are_sent(timed_server: SignalingServer, time: ManualTime) -> None:
    async with timed_server.connected() as client:
        for _ in range(3):
            time.now_ns += PING_INTERVAL_NS
            await client.send({"type": "pong"})
            assert await client.receive() == {"type": "ping", "stats": False}


async def test_an_internal_error_closes_one_client_only(server: SignalingServer) -> None:
    async with server.connected(channel_id="other") as other:
        server.recorder.connect_fault = KeyError("secret")
        async with server.client() as client:
            await client.send(CONNECT)
            assert await client.closing() == (1011, "INTERNAL-ERROR")
        await other.send({"type": "disconnect"})
        assert await other.closing() == (1000, "TYPE-DISCONNECT")


async def test_a_channel_id_is_data(server: SignalingServer) -> None:
    for channel_id in ("../../tmp/pwn", "..", "a\0b", "a\nb", "-rf", "%2e%2e%2f", "CON"):
        async with server.connected(channel_id=channel_id) as client:
            assert client.offer["channel_id"] == channel_id


@pytest.mark.parametrize(("frame", "count", "reason"), [("{}", 600, "MESSAGES"), ("x" * 200_000, 20, "BYTES")])
async def test_a_client_above_its_message_budget_is_closed(
    timed_server: SignalingServer, frame: str, count: int, reason: str
) -> None:
    """Media is sent over UDP: signalling has few messages."""
    message = frame if frame == "{}" else json.dumps({"type": "pong", "stats": frame})
    message = json.dumps({"type": "candidate"}) if frame == "{}" else message
    async with timed_server.connected() as client:
        with suppress(ConnectionClosed):
            for _ in range(count):
                await client.send(message)
        assert await client.closing() == (4490, f"TOO-MANY-{reason}")
        [connection] = timed_server.recorder.people
        assert await ended(connection) == f"TOO-MANY-{reason}"


async def test_the_recorder_receives_a_client_s_address(server: SignalingServer) -> None:
    async with server.connected():
        assert [request.client_address for request in server.recorder.requests] == ["127.0.0.1"]


async def test_datachannels_are_declined_and_the_client_stays(
    timed_server: SignalingServer, time: ManualTime
) -> None:
    """The offer has none, and pings use the WebSocket: https://github.com/shiguredo/sora-js-sdk/pull/59"""
    channels = [{"label": "#m", "direction": "sendrecv"}]
    wishes = {"data_channel_signaling": True, "ignore_disconnect_websocket": True, "data_channels": channels}
    async with timed_server.connected(**wishes) as client:
        assert "data_channels" not in client.offer
        assert not client.offer["data_channel_signaling"]
        assert not client.offer["ignore_disconnect_websocket"]
        assert "m=application" not in client.offer["sdp"]
        for _ in range(2):
            time.now_ns += PING_INTERVAL_NS
            await client.send({"type": "pong"})
            assert (await client.receive())["type"] == "ping"
        await client.send({"type": "disconnect"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")
