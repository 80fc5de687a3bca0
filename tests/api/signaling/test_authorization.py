"""Signalling with the authentication webhook: the conversation alone, and over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.client import connect as open_websocket

from rokuga.api.app import signaling_app
from rokuga.api.config.loader import DaemonConfig
from rokuga.api.context import AppContext
from rokuga.api.signaling.conversation import Authorize, Close, Conversation, Open, Phase
from rokuga.recorder.clock import Clock
from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.negotiation import TrackConfig
from rokuga.webhooks.auth import AuthWebhook
from rokuga.webhooks.config import WebhookConfig
from tests.api.serving import served
from tests.api.signaling.test_endpoint import Client
from tests.fakes_recorder import FakeRecorder
from tests.webhooks.consumer import Answer, Consumer, Post, consuming

CONNECT = {"type": "connect", "role": "sendonly", "channel_id": "sora", "metadata": {"token": 7}}
OPUS, VP9 = TrackConfig("OPUS"), TrackConfig("VP9")


def asked() -> tuple[Conversation, Authorize]:
    """Return a conversation that waits for the webhook."""
    talk = Conversation(0, needs_permission=True)
    [action] = talk.receive(json.dumps(CONNECT), 0)
    assert isinstance(action, Authorize)
    assert (talk.phase, talk.deadline_ns) == (Phase.PERMISSION, None)
    return talk, action


def test_an_allowed_client_is_opened_with_the_answer_s_changes() -> None:
    talk, action = asked()
    answer = {"allowed": True, "video": False, "client_id": "alice", "metadata": "for her", "event_metadata": [1]}
    request = ConnectionRequest("sora", "sendonly", client_id="alice", audio=OPUS, event_metadata_json="[1]")
    assert talk.authorized(action, answer) == [Open(request, None, "for her")]
    assert talk.authorized(action, answer) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"allowed": False, "reason": "over quota"}, "over quota"),
        ({"allowed": False, "reason": "録" * 100}, "録" * 41),
        ({"allowed": False}, "AUTH-WEBHOOK-DENIED"),
        ({"allowed": True, "audio": False, "video": False}, "AUTH-WEBHOOK-FAILED: audio and video are both false"),
        (
            {"allowed": True, "client_id": 5},
            "AUTH-WEBHOOK-FAILED: Expected `str | null`, got `int` - at `$.client_id`",
        ),
    ],
)
def test_a_denied_client_is_closed(answer: Mapping[str, Any], reason: str) -> None:
    talk, action = asked()
    assert talk.authorized(action, answer) == [Close(4490, reason)]


def test_a_client_without_an_answer_is_closed() -> None:
    talk, action = asked()
    assert talk.unauthorized("timeout") == [Close(4490, "AUTH-WEBHOOK-FAILED: timeout")]
    assert talk.authorized(action, {"allowed": True}) == []


def test_a_client_that_disconnected_meanwhile_is_not_opened() -> None:
    talk, action = asked()
    assert talk.receive('{"type":"disconnect"}', 1) == [Close(1000, "TYPE-DISCONNECT")]
    assert talk.authorized(action, {"allowed": True}) == []
    assert talk.unauthorized("timeout") == []


@pytest.mark.parametrize("frame", ['{"type":"answer","sdp":"v=0"}', json.dumps(CONNECT), "nonsense"])
def test_a_client_cannot_skip_the_authorization(frame: str) -> None:
    talk, _ = asked()
    [close] = talk.receive(frame, 1)
    assert isinstance(close, Close)


def test_the_webhook_is_not_called_for_an_invalid_connect() -> None:
    talk = Conversation(0, needs_permission=True)
    [close] = talk.receive(json.dumps({**CONNECT, "audio": False, "video": False}), 0)
    assert close == Close(4490, "audio and video are both false")


@dataclass
class ServerWithWebhook:
    """The signalling port over a fake recorder, with an authentication webhook."""

    consumer: Consumer
    recorder: FakeRecorder
    url: str = ""
    config: DaemonConfig = field(default_factory=DaemonConfig)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect a WebSocket and send a connect."""
        async with open_websocket(self.url, max_size=None) as websocket:
            client = Client(websocket)
            await client.send(CONNECT)
            yield client


@asynccontextmanager
async def serving_with_webhook(answer: Answer) -> AsyncIterator[ServerWithWebhook]:
    recorder, clock = FakeRecorder(), Clock()
    webhooks = WebhookConfig(response_timeout_ns=500 * NS_PER_MS, log_dir=Path("/dev/null/log"))
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, webhooks, clock) as webhook:
        config = DaemonConfig(auth_webhook_url=consumer.url)
        async with served(signaling_app(AppContext(recorder, config, authenticator=webhook))) as address:
            yield ServerWithWebhook(consumer, recorder, f"ws://{address}/signaling")


def says(document: Any, status: int = 200) -> Answer:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


async def test_an_allowed_client_gets_an_offer_with_what_the_answer_changed() -> None:
    answer = {
        "allowed": True,
        "client_id": "alice",
        "audio": False,
        "video": True,
        "video_codec_type": "VP8",
        "metadata": {"welcome": "録画"},
    }
    async with serving_with_webhook(says(answer)) as server, server.client() as client:
        offer = await client.receive()
        assert (offer["client_id"], offer["audio"], offer["video_codec_type"]) == ("alice", False, "VP8")
        assert offer["metadata"] == {"welcome": "録画"}
        [post] = server.consumer.posts
        assert post.event["connection_id"] == offer["connection_id"] == post.headers["sora-connection-id"]
        assert post.event["metadata"] == {"token": 7}
        [request] = server.recorder.requests
        assert (request.audio, request.video) == (None, TrackConfig("VP8"))


async def test_without_metadata_in_the_answer_the_offer_has_none() -> None:
    async with serving_with_webhook(says({"allowed": True})) as server, server.client() as client:
        assert "metadata" not in await client.receive()


async def test_the_request_has_the_number_of_members() -> None:
    async with serving_with_webhook(says({"allowed": True})) as server, server.client() as first:
        await first.receive()
        await first.send({"type": "answer", "sdp": "v=0\r\n"})
        await first.receive()
        async with server.client() as second:
            await second.receive()
        counts = [post.event["channel_sendonly_connections"] for post in server.consumer.posts]
        assert counts == [0, 1]


async def moved(_: Post, __: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"location": "/hook"})


async def hanging(_: Post, __: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says({"allowed": False, "reason": "over quota"}), "over quota"),
        (says({"allowed": True}, 500), "AUTH-WEBHOOK-FAILED: status 500"),
        (says({"allowed": "yes"}), "AUTH-WEBHOOK-FAILED: there is no boolean allowed"),
        (says({"allowed": True, "video_bit_rate": 0}), "AUTH-WEBHOOK-FAILED: video bit_rate is not from 1 to 50000"),
        (moved, "AUTH-WEBHOOK-FAILED: status 307"),
        (hanging, "AUTH-WEBHOOK-FAILED: timeout"),
    ],
)
async def test_denied_clients_get_4490_and_no_connection(answer: Answer, reason: str) -> None:
    async with serving_with_webhook(answer) as server, server.client() as client:
        assert await client.closing() == (4490, reason)
        assert not server.recorder.requests


async def test_a_client_that_disconnects_during_the_webhook_is_noticed_and_not_opened() -> None:
    async with serving_with_webhook(hanging) as server, server.client() as client:
        await server.consumer.wait(1)
        await client.send({"type": "disconnect"})
        assert await client.closing() == (1000, "TYPE-DISCONNECT")
        assert not server.recorder.requests


async def test_an_internal_error_admits_nobody() -> None:
    class Broken:
        async def ask(self, connection_id: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
            raise KeyError(connection_id, question)

    recorder = FakeRecorder()
    app = signaling_app(AppContext(recorder, DaemonConfig(), authenticator=Broken()))
    async with served(app) as address, open_websocket(f"ws://{address}/signaling") as websocket:
        client = Client(websocket)
        await client.send(CONNECT)
        assert await client.closing() == (1011, "INTERNAL-ERROR")
    assert not recorder.requests


def test_a_configured_webhook_without_an_authenticator_is_an_error() -> None:
    with pytest.raises(ValueError, match="would admit every client"):
        signaling_app(AppContext(FakeRecorder(), DaemonConfig(auth_webhook_url="http://127.0.0.1/auth")))
