"""Who may publish by WHIP: tokens, origins, and the authentication webhook."""

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
from tests.api.whip.front import FRAGMENT, OFFER, House, house
from tests.webhooks.consumer import Answer, Consumer, Post, consuming


async def test_nobody_comes_in_without_the_token() -> None:
    async with house(DaemonConfig(whip_bearer_token="s3cret")) as front:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            refused = await front.publish(**headers)
            assert refused.problem["status"] == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert not front.recorder.requests
        assert (await front.publish(authorization="Bearer s3cret")).status == 201


async def test_a_session_belongs_to_the_token_that_it_came_with() -> None:
    """Whoever learns the URL alone can neither patch nor delete."""
    async with house() as front:
        location = (await front.publish(authorization="Bearer mine")).headers["location"]
        for headers in ({}, {"authorization": "Bearer yours"}):
            assert (await front.send("DELETE", location, **headers)).problem["status"] == 401
            assert (await front.send("PATCH", location, FRAGMENT, **headers)).problem["status"] == 401
        assert not front.person.closed.is_set()
        assert (await front.send("DELETE", location, authorization="Bearer mine")).status == 200


@asynccontextmanager
async def gate(answer: Answer) -> AsyncIterator[tuple[House, Consumer]]:
    webhooks = WebhookConfig(response_timeout_ns=500 * NS_PER_MS, log_dir=Path("/dev/null/log"))
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, webhooks, Clock()) as webhook:
        async with house(DaemonConfig(auth_webhook_url=consumer.url), webhook) as front:
            yield front, consumer


def says(document: Any, status: int = 200) -> Answer:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


async def test_the_webhook_is_asked_as_for_signalling() -> None:
    answer = {"allowed": True, "client_id": "alice", "video_bit_rate": 800, "event_metadata": 7}
    async with gate(says(answer)) as (front, consumer):
        reply = await front.publish(authorization="Bearer t0ken", user_agent="OBS 30")
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
        assert asked["connection_id"] == front.person.identity.connection_id
        assert front.person.identity.client_id == "alice"
        assert front.recorder.requests[-1].event_metadata_json == "7"
        assert front.person.video == TrackConfig("VP9", 800)


async def test_the_webhook_may_leave_out_a_kind() -> None:
    async with gate(says({"allowed": True, "video": False})) as (front, _consumer):
        assert (await front.publish()).status == 201
        assert front.person.video is None


@pytest.mark.parametrize("offer", ["hello", OFFER.replace("a=sendonly", "a=recvonly"), OFFER + "a=x\r\n" * 5000])
async def test_whom_the_webhook_refuses_learns_nothing_about_its_offer(offer: str) -> None:
    """Permission comes before what is wrong with a body (RFC 9110 section 15.5.4)."""
    async with gate(says({"allowed": False, "reason": "over quota"})) as (front, consumer):
        refused = await front.publish(offer)
        assert (refused.status, refused.problem["detail"]) == (403, "over quota")
        [post] = consumer.posts
        assert (post.event["audio_codec_type"], post.event["video_codec_type"]) == ("OPUS", "VP9")


async def test_whom_the_webhook_allows_learns_what_is_wrong_with_its_offer() -> None:
    async with gate(says({"allowed": True})) as (front, _consumer):
        assert (await front.publish("hello")).problem["status"] == 400
        assert not front.recorder.requests


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
async def test_whom_the_webhook_does_not_allow_gets_no_connection(answer: Answer, status: int, detail: str) -> None:
    async with gate(answer) as (front, _consumer):
        refused = await front.publish()
        assert (refused.status, refused.problem["detail"]) == (status, detail)
        assert not front.recorder.requests


async def test_a_client_that_leaves_while_it_is_asked_about_is_not_connected() -> None:
    go_on = asyncio.Event()

    async def slow(_: Post, __: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"allowed": True})

    async with gate(slow) as (front, consumer):
        leaving = asyncio.create_task(front.publish())
        await consumer.wait(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await front.send("GET", "/whip/lab")
        go_on.set()
        assert (await front.publish()).status == 201
        assert len(front.recorder.requests) == 1


async def test_pages_of_other_origins_are_refused_where_origins_are_configured() -> None:
    """The same policy as for signalling, for the endpoint and the sessions."""
    config = DaemonConfig(signaling_origins=("https://page.example",))
    async with house(config) as front:
        welcome = await front.publish(origin="https://page.example")
        assert welcome.status == 201
        for method, path in (("POST", "/whip/lab"), ("DELETE", welcome.headers["location"])):
            headers = {"origin": "https://evil.example", "content-type": "application/sdp"}
            url = urljoin(f"{front.base}/whip/lab", path)
            async with front.http.request(method, url, data=OFFER, headers=headers) as answer:
                assert answer.status == 403
        assert not front.person.closed.is_set()
