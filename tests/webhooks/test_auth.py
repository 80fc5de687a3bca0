"""The authentication webhook, asked of real consumers of every temper: what is no answer lets nobody in."""

import asyncio
import base64
import contextlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_MS
from rokuga.webhooks.auth import AuthWebhook, NoAnswer, read_answer
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.http_client import MAX_RESPONSE_BYTES
from rokuga.webhooks.signature import sign
from tests.webhooks.certificates import Authority
from tests.webhooks.consumer import Answer, Post, consuming, ok

NOWHERE = Path("/dev/null/log")
CONFIG = WebhookConfig(label="Studio", node_name="node@127.0.0.1", version="1.2.3", log_dir=NOWHERE)
CLOCK = Clock(wall_ns=lambda: 1_700_000_000_000_000_000)
QUESTION = {"role": "sendonly", "channel_id": "sora", "metadata": {"token": "録画"}}
ALLOWED = b'{"allowed":true,"client_id":"alice","metadata":[1]}'


def says(body: bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def ask(url: str, config: WebhookConfig = CONFIG) -> Any:
    async with AuthWebhook(url, config, CLOCK) as webhook:
        return await webhook.ask("CONNECTION", QUESTION)


async def test_the_request_arrives_with_its_envelope_and_the_answer_is_returned() -> None:
    async with consuming(says(ALLOWED)) as consumer:
        answer = await ask(consumer.url)
    assert answer == {"allowed": True, "client_id": "alice", "metadata": [1]}
    [post] = consumer.posts
    assert post.event == {
        "timestamp": "2023-11-14T22:13:20.000000Z",
        "version": "1.2.3",
        "label": "Studio",
        "node_name": "node@127.0.0.1",
        **QUESTION,
    }
    assert post.headers["content-type"] == "application/json"
    assert post.headers["sora-connection-id"] == "CONNECTION"
    assert not {"authorization", "webhook-id"} & {name.lower() for name in post.headers}


async def test_a_refusal_is_an_answer() -> None:
    async with consuming(says(b'{"allowed":false,"reason":"NO"}')) as consumer:
        assert await ask(consumer.url) == {"allowed": False, "reason": "NO"}


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 500, 503])
async def test_only_200_is_an_answer(status: int) -> None:
    async with consuming(says(ALLOWED, status)) as consumer:
        with pytest.raises(NoAnswer, match=f"^status {status}$"):
            await ask(consumer.url)
    assert len(consumer.posts) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with consuming(says(ALLOWED)) as elsewhere:
        async with consuming(says(b"", status, location=elsewhere.url)) as consumer:
            with pytest.raises(NoAnswer, match=f"^status {status}$"):
                await ask(consumer.url)
        assert not elsewhere.posts


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "it is not JSON"),
        (b"OK", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 50_000, "it is not JSON"),
        (b'{"allowed":true', "it is not JSON"),
        (b"true", "there is no boolean allowed"),
        (b"[]", "there is no boolean allowed"),
        (b"{}", "there is no boolean allowed"),
        (b'{"allowed":null}', "there is no boolean allowed"),
        (b'{"allowed":1}', "there is no boolean allowed"),
        (b'{"allowed":"true"}', "there is no boolean allowed"),
        (b'{"allowed":true}' + b" " * MAX_RESPONSE_BYTES, f"more than {MAX_RESPONSE_BYTES} bytes"),
    ],
)
async def test_a_response_without_a_boolean_allowed_is_no_answer(body: bytes, fault: str) -> None:
    async with consuming(says(body)) as consumer:
        with pytest.raises(NoAnswer, match=f"^{fault}$"):
            await ask(consumer.url)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    with contextlib.suppress(NoAnswer):
        assert read_answer(body)["allowed"] in {True, False}


@pytest.mark.parametrize("has_begun", [False, True])
async def test_an_answer_that_takes_too_long_is_none(has_begun: bool) -> None:
    """Also one that begins in time."""

    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if has_begun:
            await response.prepare(request)
            await response.write(b'{"allowed":true')
        await asyncio.Event().wait()
        return response

    async with consuming(answer) as consumer:
        with pytest.raises(NoAnswer, match=r"^timeout$"):
            await ask(consumer.url, replace(CONFIG, response_timeout_ns=100 * NS_PER_MS))


async def test_an_answer_that_breaks_off_is_none() -> None:
    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b'{"allowed":true}')
        assert request.transport is not None
        request.transport.close()
        return response

    async with consuming(answer) as consumer:
        with pytest.raises(NoAnswer, match=r"^it cannot be reached$"):
            await ask(consumer.url)


async def test_a_refused_connection_is_no_answer_and_the_reason_has_no_address() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer, match=r"^it cannot be reached$"):
        await ask(f"http://127.0.0.1:{port}/hook")


async def test_private_addresses_can_be_denied() -> None:
    async with consuming(says(ALLOWED)) as consumer:
        with pytest.raises(NoAnswer):
            await ask(consumer.url, replace(CONFIG, deny_private=True))
    assert not consumer.posts


async def test_basic_authentication_and_the_signature_are_those_of_events() -> None:
    config = replace(CONFIG, basic_user="user", basic_password="password", secret="a secret")
    async with consuming(says(ALLOWED)) as consumer:
        await ask(consumer.url, config)
    [post] = consumer.posts
    assert post.headers["authorization"] == f"Basic {base64.b64encode(b'user:password').decode()}"
    assert post.headers["webhook-id"] == "CONNECTION"
    assert post.headers["webhook-signature"] == sign(b"a secret", "CONNECTION", "1700000000", post.body)


async def test_certificates_are_checked_both_ways(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("rokuga")
    trusting = replace(CONFIG, ca_file=authority.ca_file)
    async with consuming(says(ALLOWED), authority.server(asks_for_client=True)) as consumer:
        for config in (CONFIG, trusting):
            with pytest.raises(NoAnswer):
                await ask(consumer.url, config)
        answer = await ask(consumer.url, replace(trusting, client_cert=certificate, client_key=key))
    assert answer["allowed"] is True


async def test_outcomes_of_requests_are_counted(tmp_path: Path) -> None:
    bodies = iter([ALLOWED, ALLOWED, b'{"allowed":false}', b"", b"", b""])

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(body=next(bodies))

    config = replace(CONFIG, log_dir=tmp_path)
    async with consuming(answer) as consumer, AuthWebhook(consumer.url, config, CLOCK) as webhook:
        results = await asyncio.gather(*(webhook.ask("C", {}) for _ in range(6)), return_exceptions=True)
        assert sum(isinstance(result, NoAnswer) for result in results) == 3
        assert await webhook.counters() == {
            "auth_webhook_allowed": 2,
            "auth_webhook_denied": 1,
            "auth_webhook_failed": 3,
            "auth_webhook_log_lines_refused": 0,
        }


async def test_an_empty_200_is_no_answer() -> None:
    async with consuming(ok) as consumer:
        with pytest.raises(NoAnswer):
            await ask(consumer.url)
