"""Permission to publish by WHIP: tokens, origins, and the authentication webhook."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from aiohttp import web

from rokuga.api.config.loader import DaemonConfig
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.negotiation import TrackConfig
from rokuga.webhooks.auth import AuthWebhook
from rokuga.webhooks.config import WebhookConfig
from tests.api.whip.whip_server import FRAGMENT, OFFER, WhipServer, serving_whip
from tests.webhooks.consumer import Answer, Consumer, Post, consuming


async def test_a_client_without_the_token_is_refused() -> None:
    async with serving_whip(DaemonConfig(whip_bearer_token="s3cret")) as server:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            refused = await server.publish(**headers)
            assert refused.problem["status"] == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert not server.recorder.requests
        assert (await server.publish(authorization="Bearer s3cret")).status == 201


async def test_a_session_needs_the_token_that_it_was_made_with() -> None:
    """The URL alone permits neither PATCH nor DELETE."""
    async with serving_whip() as server:
        location = (await server.publish(authorization="Bearer mine")).headers["location"]
        for headers in ({}, {"authorization": "Bearer yours"}):
            assert (await server.send("DELETE", location, **headers)).problem["status"] == 401
            assert (await server.send("PATCH", location, FRAGMENT, **headers)).problem["status"] == 401
        assert not server.connection.closed.is_set()
        assert (await server.send("DELETE", location, authorization="Bearer mine")).status == 200


@asynccontextmanager
async def serving_with_webhook(answer: Answer) -> AsyncIterator[tuple[WhipServer, Consumer]]:
    webhooks = WebhookConfig(response_timeout_ns=500 * NS_PER_MS, log_dir=Path("/dev/null/log"))
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, webhooks, Clock()) as webhook:
        async with serving_whip(DaemonConfig(auth_webhook_url=consumer.url), webhook) as server:
            yield server, consumer


def says(document: Any, status: int = 200) -> Answer:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


async def test_the_webhook_is_called_as_for_signalling() -> None:
    answer = {"allowed": True, "client_id": "alice", "video_bit_rate": 800, "event_metadata": 7}
    async with serving_with_webhook(says(answer)) as (server, consumer):
        reply = await server.publish(authorization="Bearer t0ken", user_agent="OBS 30")
        assert reply.status == 201
        [post] = consumer.posts
        asked = post.event
        assert (asked["role"], asked["channel_id"], asked["metadata"]) == (
            "sendonly",
            "lab",
            {"access_token": "t0ken"},
        )
        assert (asked["audio_codec_type"], asked["video_codec_type"]) == ("OPUS", "VP9")
        assert asked["sora_client"] == {"raw": "WHIP", "environment": "OBS 30"}
        assert asked["connection_id"] == server.connection.identity.connection_id
        assert server.connection.identity.client_id == "alice"
        assert server.recorder.requests[-1].event_metadata_json == "7"
        assert server.connection.video == TrackConfig("VP9", 800)


async def test_the_webhook_may_turn_off_a_kind() -> None:
    async with serving_with_webhook(says({"allowed": True, "video": False})) as (server, _consumer):
        assert (await server.publish()).status == 201
        assert server.connection.video is None


@pytest.mark.parametrize("offer", ["hello", OFFER.replace("a=sendonly", "a=recvonly"), OFFER + "a=x\r\n" * 5000])
async def test_a_denied_client_learns_nothing_about_its_offer(offer: str) -> None:
    """Permission is checked before the body (RFC 9110 section 15.5.4)."""
    async with serving_with_webhook(says({"allowed": False, "reason": "over quota"})) as (server, consumer):
        refused = await server.publish(offer)
        assert (refused.status, refused.problem["detail"]) == (403, "over quota")
        [post] = consumer.posts
        assert (post.event["audio_codec_type"], post.event["video_codec_type"]) == ("OPUS", "VP9")


async def test_an_allowed_client_learns_the_fault_of_its_offer() -> None:
    async with serving_with_webhook(says({"allowed": True})) as (server, _consumer):
        assert (await server.publish("hello")).problem["status"] == 400
        assert not server.recorder.requests


async def hanging(_: Post, __: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (says({"allowed": False, "reason": "over quota"}), 403, "over quota"),
        (says({"allowed": False, "reason": "録" * 100}), 403, "録" * 100),
        (says({"allowed": False}), 403, "AUTH-WEBHOOK-DENIED"),
        (says({"allowed": True}, 500), 503, "AUTH-WEBHOOK-FAILED: status 500"),
        (
            says({"allowed": True, "video_codec_type": "AV1"}),
            503,
            "AUTH-WEBHOOK-FAILED: AV1 is allowed and not offered",
        ),
        (hanging, 503, "AUTH-WEBHOOK-FAILED: timeout"),
    ],
)
async def test_a_denied_client_gets_no_connection(answer: Answer, status: int, detail: str) -> None:
    async with serving_with_webhook(answer) as (server, _consumer):
        refused = await server.publish()
        assert (refused.status, refused.problem["detail"]) == (status, detail)
        assert not server.recorder.requests


async def test_a_client_that_disconnects_during_the_webhook_is_not_connected() -> None:
    go_on = asyncio.Event()

    async def slow(_: Post, __: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"allowed": True})

    async with serving_with_webhook(slow) as (server, consumer):
        leaving = asyncio.create_task(server.publish())
        await consumer.wait(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await server.send("GET", "/whip/lab")
        go_on.set()
        assert (await server.publish()).status == 201
        assert len(server.recorder.requests) == 1


async def test_pages_of_other_origins_are_refused_where_origins_are_configured() -> None:
    """The same policy as for signalling, for the endpoint and the sessions."""
    config = DaemonConfig(signaling_origins=("https://page.example",))
    async with serving_whip(config) as server:
        welcome = await server.publish(origin="https://page.example")
        assert welcome.status == 201
        for method, path in (("POST", "/whip/lab"), ("DELETE", welcome.headers["location"])):
            headers = {"origin": "https://evil.example", "content-type": "application/sdp"}
            url = urljoin(f"{server.base}/whip/lab", path)
            async with server.http.request(method, url, data=OFFER, headers=headers) as answer:
                assert answer.status == 403
        assert not server.connection.closed.is_set()
