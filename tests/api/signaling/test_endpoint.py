"""Signalling over real WebSockets: the whole way of a client, and everything that can end it."""

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


class House:
    """A signalling server over a recorder that is played."""

    def __init__(self, recorder: FakeRecorder, url: str) -> None:
        self.recorder = recorder
        self.url = url

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        """A client that has said nothing yet."""
        async with connect(self.url, max_size=None) as websocket:
            yield Client(websocket)

    @asynccontextmanager
    async def connected(self, **more: Any) -> AsyncIterator["Client"]:
        """A client that has come all the way to its own connection.created."""
        async with self.client() as client:
            await client.say({**CONNECT, **more})
            client.offer = await client.hear()
            await client.say(ANSWER)
            created = await client.hear()
            assert (created["event_type"], created["connection_id"]) == (
                "connection.created",
                client.offer["connection_id"],
            )
            yield client


class Client:
    """The other end of a WebSocket."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.offer: dict[str, Any] = {}

    async def say(self, message: Any) -> None:
        """Send a frame as it is, or a value as JSON."""
        await self.websocket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """Give the next message."""
        message: dict[str, Any] = json.loads(await self.websocket.recv())
        return message

    async def closing(self) -> tuple[int, str]:
        """Wait for the close; what else comes is passed over."""
        with suppress(ConnectionClosed):
            while True:
                await self.websocket.recv()
        assert self.websocket.close_code is not None
        return self.websocket.close_code, self.websocket.close_reason or ""


@pytest.fixture
async def house() -> AsyncIterator[House]:
    recorder = FakeRecorder()
    async with served(signaling_app(AppContext(recorder, DaemonConfig()))) as address:
        yield House(recorder, f"ws://{address}/signaling")


class TurnedClock:
    """A clock that stands still until the test turns it."""

    def __init__(self) -> None:
        self.now_ns = 0


@pytest.fixture
def time() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def house_in_time(time: TurnedClock) -> AsyncIterator[House]:
    recorder = FakeRecorder()
    clock = Clock(monotonic_ns=lambda: time.now_ns)
    context = AppContext(recorder, DaemonConfig(), clock, channels=ChannelMembers(clock))
    endpoint = SignalingEndpoint(context)
    async with served(Starlette(routes=[WebSocketRoute("/signaling", endpoint)])) as address:
        yield House(recorder, f"ws://{address}/signaling")


async def ended(connection: FakeConnection) -> str:
    return await connection.wait_ended()


async def test_a_client_comes_publishes_and_goes(house: House) -> None:
    async with house.connected(video={"codec_type": "VP9", "bit_rate": 500}) as client:
        [connection] = house.recorder.people
        assert client.offer["sdp"] == connection.offer_sdp
        assert client.offer["connection_id"] == connection.identity.connection_id
        assert client.offer["mid"] == dict(connection.mids)
        assert connection.answers == ["v=0\r\n"]
        await client.say({"type": "candidate", "candidate": "candidate:1 1 udp 1 192.0.2.2 5 typ host"})
        await client.say({"type": "disconnect", "reason": "NO-ERROR"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")
        assert await ended(connection) == "TYPE-DISCONNECT"
        assert connection.close_detail == "NO-ERROR"


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.jsonl")))
async def test_real_clients_are_served(house: House, name: str) -> None:
    """Requests for simulcast, spotlight and DataChannels are refused by the offer, and the client publishes."""
    connect_frame, answer_frame, *rest = VECTORS.joinpath(f"{name}.jsonl").read_text().splitlines()
    async with house.client() as client:
        await client.say(connect_frame)
        offer = await client.hear()
        assert (offer["type"], offer["simulcast"], offer["spotlight"]) == ("offer", False, False)
        assert "data_channels" not in offer
        await client.say(answer_frame)
        created = await client.hear()
        assert created["connection_id"] == offer["connection_id"]
        assert created["video"] == (offer["video"] and name != "python_sdk_rejects_video")
        for frame in rest or ['{"type":"disconnect"}']:
            await client.say(frame)
        assert await client.closing() == (1000, "TYPE-DISCONNECT")


async def test_nobody_is_told_before_dtls_is_up(house: House) -> None:
    house.recorder.answer_connects = False
    async with house.client() as client:
        await client.say(CONNECT)
        await client.hear()
        await client.say(ANSWER)
        async with house.client() as other:
            await other.say(CONNECT)
            await other.hear()
            await other.say(ANSWER)
            await arrives(lambda: len(house.recorder.people) == 2 and house.recorder.people[1].answers)
            house.recorder.people[1].connected.set()
            first = await other.hear()
            assert (first["channel_connections"], first["data"]) == (1, [])
            house.recorder.people[0].connected.set()
            own = await client.hear()
            assert (own["channel_connections"], len(own["data"])) == (2, 1)


async def arrives(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event to wait on
        await asyncio.sleep(0.001)


async def test_members_of_a_channel_hear_of_one_another(house: House) -> None:
    async with house.connected() as first:
        async with house.connected(role="recvonly", client_id="viewer", signaling_notify_metadata={"n": 1}) as second:
            created = await first.hear()
            assert (created["client_id"], created["role"], created["metadata"]) == ("viewer", "recvonly", {"n": 1})
            assert created["channel_connections"] == 2
            await second.say({"type": "disconnect"})
        destroyed = await first.hear()
        assert (destroyed["event_type"], destroyed["client_id"]) == ("connection.destroyed", "viewer")
        assert destroyed["channel_connections"] == 1


@pytest.mark.parametrize(
    "more",
    [{"simulcast": True, "simulcast_rid": "r0"}, {"spotlight": True}, {"data_channel_signaling": True}],
)
async def test_an_answer_may_reject_a_kind(house: House, more: dict[str, Any]) -> None:
    """The members are told what is sent, not what was offered."""
    async with house.client() as client:
        await client.say({**CONNECT, **more})
        await client.hear()
        await client.say({"type": "answer", "sdp": "v=0\r\nm=audio 9\r\nm=video 0\r\n"})
        created = await client.hear()
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
async def test_a_bad_beginning_is_closed_with_a_reason(house: House, frame: str | bytes, reason: str) -> None:
    async with house.client() as client:
        await client.say(frame)
        code, told = await client.closing()
        assert code == 4490
        assert told.startswith(reason)
    assert house.recorder.requests == []


async def test_a_frame_beyond_the_limit_is_closed_by_the_protocol(house: House) -> None:
    async with house.client() as client:
        await client.say("x" * (1 << 21))
        assert (await client.closing())[0] == 1009


async def test_a_pong_of_20_kilobytes_with_infinities_does_no_harm(house: House) -> None:
    async with house.connected() as client:
        await client.say('{"type":"pong","stats":[' + '{"remoteTimestamp":-inf},' * 1000 + '{"x":nan}]}')
        await client.say({"type": "disconnect"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")


@pytest.mark.parametrize("frame", ["nonsense", json.dumps(CONNECT), json.dumps(ANSWER)])
async def test_bad_frames_later_end_the_connection_as_well(house: House, frame: str) -> None:
    async with house.connected() as client:
        await client.say(frame)
        code, reason = await client.closing()
        assert code == 4490
        assert await ended(house.recorder.people[0]) == reason


async def test_a_refusal_of_the_recorder_is_told(house: House) -> None:
    house.recorder.refusal = "SHUTDOWN"
    async with house.client() as client:
        await client.say(CONNECT)
        assert await client.closing() == (4490, "SHUTDOWN")


async def test_an_answer_of_no_use_is_told(house: House) -> None:
    async with house.client() as client:
        await client.say(CONNECT)
        await client.hear()
        await client.say({"type": "answer", "sdp": "nonsense"})
        assert await client.closing() == (4490, "the answer cannot be read")
        await ended(house.recorder.people[0])


@pytest.mark.parametrize(
    ("reason", "code"), [("DISCONNECTED-API", 1000), ("MEDIA-TIMEOUT", 4490), ("INTERNAL-ERROR", 1011)]
)
async def test_when_the_peer_is_gone_the_websocket_closes(house: House, reason: str, code: int) -> None:
    async with house.connected() as client, house.connected() as other:
        await client.hear()
        house.recorder.people[0].stop(reason)
        assert await client.closing() == (code, reason)
        assert (await other.hear())["event_type"] == "connection.destroyed"


@pytest.mark.parametrize("is_connected", [False, True])
async def test_when_the_websocket_dies_so_does_the_connection(house: House, is_connected: bool) -> None:
    """A killed client says nothing; its file must end all the same."""
    house.recorder.answer_connects = is_connected
    async with house.client() as client:
        await client.say(CONNECT)
        await client.hear()
        await client.say(ANSWER)
        if is_connected:
            await client.hear()
        client.websocket.transport.abort()
        assert await ended(house.recorder.people[0]) == "WEBSOCKET-CLOSED"


async def test_a_client_that_closes_without_a_word_is_gone(house: House) -> None:
    async with house.connected() as client:
        await client.websocket.close()
        assert await ended(house.recorder.people[0]) == "WEBSOCKET-CLOSED"


async def test_a_client_that_does_not_answer_is_given_up(house_in_time: House, time: TurnedClock) -> None:
    async with house_in_time.client() as client:
        await client.say(CONNECT)
        await client.hear()
        time.now_ns = ANSWER_TIMEOUT_NS
        await client.say({"type": "candidate"})
        assert await client.closing() == (4490, "TIMEOUT")
        assert await ended(house_in_time.recorder.people[0]) == "TIMEOUT"


async def test_pings_are_sent(house_in_time: House, time: TurnedClock) -> None:
    async with house_in_time.connected() as client:
        for _ in range(3):
            time.now_ns += PING_INTERVAL_NS
            await client.say({"type": "pong"})
            assert await client.hear() == {"type": "ping", "stats": False}


async def test_a_fault_of_ours_closes_that_client_only(house: House) -> None:
    async with house.connected(channel_id="other") as other:
        house.recorder.connect_fault = KeyError("secret")
        async with house.client() as client:
            await client.say(CONNECT)
            assert await client.closing() == (1011, "INTERNAL-ERROR")
        await other.say({"type": "disconnect"})
        assert await other.closing() == (1000, "TYPE-DISCONNECT")


async def test_d39_a_channel_id_is_data(house: House) -> None:
    for channel_id in ("../../tmp/pwn", "..", "a\0b", "a\nb", "-rf", "%2e%2e%2f", "CON"):
        async with house.connected(channel_id=channel_id) as client:
            assert client.offer["channel_id"] == channel_id


@pytest.mark.parametrize(("frame", "count", "reason"), [("{}", 600, "MESSAGES"), ("x" * 200_000, 20, "BYTES")])
async def test_a_client_that_says_too_much_is_closed(
    house_in_time: House, frame: str, count: int, reason: str
) -> None:
    """Media goes by UDP: whatever a client says here is a few messages."""
    message = frame if frame == "{}" else json.dumps({"type": "pong", "stats": frame})
    message = json.dumps({"type": "candidate"}) if frame == "{}" else message
    async with house_in_time.connected() as client:
        with suppress(ConnectionClosed):
            for _ in range(count):
                await client.say(message)
        assert await client.closing() == (4490, f"TOO-MANY-{reason}")
        [connection] = house_in_time.recorder.people
        assert await ended(connection) == f"TOO-MANY-{reason}"


async def test_the_recorder_learns_from_where_a_client_comes(house: House) -> None:
    async with house.connected():
        assert [request.client_address for request in house.recorder.requests] == ["127.0.0.1"]


async def test_datachannels_are_declined_and_the_client_stays(house_in_time: House, time: TurnedClock) -> None:
    """The offer has none, and pings go on by the WebSocket: https://github.com/shiguredo/sora-js-sdk/pull/59"""
    channels = [{"label": "#m", "direction": "sendrecv"}]
    wishes = {"data_channel_signaling": True, "ignore_disconnect_websocket": True, "data_channels": channels}
    async with house_in_time.connected(**wishes) as client:
        assert "data_channels" not in client.offer
        assert not client.offer["data_channel_signaling"]
        assert not client.offer["ignore_disconnect_websocket"]
        assert "m=application" not in client.offer["sdp"]
        for _ in range(2):
            time.now_ns += PING_INTERVAL_NS
            await client.say({"type": "pong"})
            assert (await client.hear())["type"] == "ping"
        await client.say({"type": "disconnect"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")
