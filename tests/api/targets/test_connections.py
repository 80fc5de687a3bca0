"""Targets for connections and statistics, over real HTTP."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from rokuga.api.app import api_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.monitoring.metrics import Number
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.negotiation import TrackConfig
from tests.api.serving import served
from tests.fakes_recorder import FakeConnection, FakeRecorder

pytestmark = pytest.mark.asyncio(loop_scope="module")


class ApiServer:
    """The API over a fake recorder."""

    def __init__(self) -> None:
        self.recorder = FakeRecorder()
        self.numbers: dict[str, Number] = {}
        self.url = ""
        self.session: aiohttp.ClientSession

    async def counters(self) -> Mapping[str, Number]:
        """Return the test's numbers."""
        return self.numbers

    async def call(self, target: str, body: Any = None) -> tuple[int, Any]:
        """Return status and response."""
        data = None if body is None else json.dumps(body)
        async with self.session.post(self.url, data=data, headers={"x-sora-target": target}) as response:
            return response.status, json.loads(await response.read())

    async def connect(
        self, channel_id: str, client_id: str | None = None, *, is_connected: bool = True
    ) -> FakeConnection:
        """Connect a client."""
        connection = await self.recorder.connect(
            ConnectionRequest(channel_id, "sendonly", client_id, None, TrackConfig("OPUS"), TrackConfig("VP9", 500))
        )
        if is_connected:
            connection.connected.set()
        return connection


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_server() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = api_app(AppContext(server.recorder, DaemonConfig(version="1.2.3"), metric_sources=[server.counters]))
    async with served(app) as address, aiohttp.ClientSession() as session:
        server.url, server.session = f"http://{address}/", session
        yield server


@pytest.fixture
def server(shared_server: ApiServer) -> ApiServer:
    """One server for all tests; its recorder is reset for each."""
    shared_server.recorder.people.clear()
    return shared_server


def of(connection: FakeConnection) -> dict[str, str]:
    return {"channel_id": connection.identity.channel_id, "connection_id": connection.identity.connection_id}


async def test_connections_are_listed_after_dtls(server: ApiServer) -> None:
    one, two = await server.connect("a"), await server.connect("b", "CLIENT")
    await server.connect("a", is_connected=False)
    status, answer = await server.call("Sora_20201013.ListConnections")
    assert status == 200
    assert [entry["connection_id"] for entry in answer] == [
        one.identity.connection_id,
        two.identity.connection_id,
    ]
    assert answer[1] == {
        "channel_id": "b",
        "session_id": "SESSION",
        "client_id": "CLIENT",
        "bundle_id": "CLIENT",
        "connection_id": two.identity.connection_id,
        "role": "sendonly",
        "audio": {"codec_type": "OPUS"},
        "video": {"codec_type": "VP9", "bit_rate": 500},
        "multistream": True,
        "simulcast": False,
        "spotlight": False,
        "created_time": 1638234656,
    }
    assert await server.call("Sora_20201013.ListChannelConnections", {"channel_id": "b"}) == (200, [answer[1]])
    assert await server.call("Sora_20201013.ListChannelConnections", {"channel_id": "c"}) == (200, [])


async def test_a_channel_is_disconnected(server: ApiServer) -> None:
    one, two, other = await server.connect("a"), await server.connect("a"), await server.connect("b")
    answer = await server.call("Sora_20151104.DisconnectChannel", {"channel_id": "a", "reason": "closing time"})
    assert answer == (200, {"channel_id": "a"})
    assert one.close_reason == two.close_reason == "DISCONNECTED-API"
    assert one.close_detail == two.close_detail == "closing time"
    assert not other.close_reason
    answer = await server.call("Sora_20151104.DisconnectChannel", {"channel_id": "a"})
    assert answer == (400, {"error_type": "CHANNEL-NOT-FOUND"})


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (None, None),
        ("", ""),
        ("録画", "録画"),
        ({"code": 1, "why": "録"}, '{"code":1,"why":"録"}'),
        ([1.5, None], "[1.5,null]"),
        (False, "false"),
        (0, "0"),
    ],
)
async def test_a_reason_that_is_not_text_is_stored_as_json(
    server: ApiServer, reason: object, detail: str | None
) -> None:
    one = await server.connect("a")
    request = {"channel_id": "a", "reason": reason}
    assert await server.call("Sora_20151104.DisconnectChannel", request) == (200, {"channel_id": "a"})
    assert (one.close_reason, one.close_detail) == ("DISCONNECTED-API", detail)


async def test_a_client_is_disconnected_from_one_channel(server: ApiServer) -> None:
    here, there, other = (
        await server.connect("a", "X"),
        await server.connect("b", "X"),
        await server.connect("a", "Y"),
    )
    request = {"channel_id": "a", "client_id": "X"}
    assert await server.call("Sora_20151104.DisconnectClient", request) == (200, request)
    assert [bool(person.close_reason) for person in (here, there, other)] == [True, False, False]
    assert await server.call("Sora_20151104.DisconnectClient", request) == (400, {"error_type": "CLIENT-NOT-FOUND"})


async def test_a_connection_is_disconnected(server: ApiServer) -> None:
    one, two = await server.connect("a", "X"), await server.connect("a", "X")
    assert await server.call("Sora_20151104.DisconnectConnection", of(two)) == (200, of(two))
    assert [bool(person.close_reason) for person in (one, two)] == [False, True]
    error = (400, {"error_type": "CONNECTION-NOT-FOUND"})
    assert await server.call("Sora_20151104.DisconnectConnection", of(two)) == error
    assert await server.call("Sora_20151104.DisconnectConnection", {**of(one), "channel_id": "b"}) == error


async def test_a_key_frame_is_requested(server: ApiServer) -> None:
    connection = await server.connect("a")
    assert await server.call("Sora_20241218.RequestKeyFrame", of(connection)) == (200, of(connection))
    assert connection.keyframe_requests == 1
    error = (400, {"error_type": "CONNECTION-NOT-FOUND"})
    assert await server.call("Sora_20241218.RequestKeyFrame", {**of(connection), "connection_id": "X"}) == error


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("Sora_20201013.ListChannelConnections", ["channel_id"]),
        ("Sora_20151104.DisconnectChannel", ["channel_id"]),
        ("Sora_20151104.DisconnectClient", ["channel_id", "client_id"]),
        ("Sora_20151104.DisconnectConnection", ["channel_id", "connection_id"]),
        ("Sora_20241218.RequestKeyFrame", ["channel_id", "connection_id"]),
    ],
)
async def test_missing_ids_are_invalid(server: ApiServer, target: str, missing: list[str]) -> None:
    status, answer = await server.call(target, {})
    assert (status, answer["error_type"]) == (400, "InvalidJSON")
    assert [reason["schema"]["required"] for reason in answer["error_reason"]] == [[name] for name in missing]


async def test_an_exporter_reads_the_report_and_the_licence(server: ApiServer) -> None:
    """sora_exporter posts without a body and reads these names and types."""
    server.numbers |= {
        "connections": 1,
        "connections_created": 3,
        "connections_destroyed": 2,
        "connection_seconds": 211,
        "auth_webhook_allowed": 3,
        "auth_webhook_denied": 4,
        "auth_webhook_failed": 5,
        "received_packets": {"audio": 1, "video": 2},
    }
    assert await server.call("Sora_20171010.GetStatsReport") == (
        200,
        {
            "version": "1.2.3",
            "total_ongoing_connections": 1,
            "total_connection_created": 3,
            "total_connection_destroyed": 2,
            "total_successful_connections": 3,
            "total_duration_sec": 211,
            "average_duration_sec": 105,
            "total_auth_webhook_allowed": 3,
            "total_auth_webhook_denied": 4,
            "total_successful_auth_webhook": 7,
            "total_failed_auth_webhook": 5,
        },
    )
    status, answer = await server.call("Sora_20171218.GetLicense")
    assert status == 200
    assert {name: type(value) for name, value in answer.items()} == {
        "expired_at": str,
        "max_connections": int,
        "max_nodes": type(None),
        "product_name": str,
        "serial_code": str,
        "type": str,
    }
    assert await server.call("Sora_20211215.ListClusterNodes") == (200, [])
