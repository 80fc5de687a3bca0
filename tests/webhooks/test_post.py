"""One POST, to real consumers of every temper."""

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.webhooks.config import WebhookConfig
from rokuga.webhooks.delivery import Delivery, DeliveryState
from rokuga.webhooks.post import Poster, event_headers, retry_after_s
from rokuga.webhooks.retry_policy import Delivered, Outcome, Refused, Unreachable
from rokuga.webhooks.signature import sign, signing_key
from tests.material import WALL_NS
from tests.webhooks.certificates import Authority
from tests.webhooks.consumer import Post, consuming, scripted

BODY = '{"id":"E","text":"録画"}'.encode()
ENTRY = Delivery(1, "E", "archive.available", "sora", "S", "C", BODY, WALL_NS, DeliveryState.PENDING, 0, 0, "")
SHORT_NS = 100 * NS_PER_MS


async def post(config: WebhookConfig, entry: Delivery = ENTRY) -> Outcome:
    """Post once."""
    async with Poster(config, config.url or "") as poster:
        return await poster.send(entry, WALL_NS)


async def test_body_and_headers_arrive_as_they_are() -> None:
    async with consuming() as consumer:
        assert await post(WebhookConfig(url=consumer.url, version="1.2.3")) == Delivered(200)
    arrived = consumer.posts[0]
    assert arrived.body == BODY
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["content-length"] == str(len(BODY))
    assert arrived.headers["sora-event-webhook-type"] == "archive.available"
    assert arrived.headers["sora-session-id"] == "S"
    assert arrived.headers["sora-connection-id"] == "C"
    assert arrived.headers["user-agent"] == "Rokuga/1.2.3"
    assert not {"authorization", "webhook-id", "webhook-signature"} & {name.lower() for name in arrived.headers}


def test_an_event_of_a_whole_recording_names_no_connection() -> None:
    headers = event_headers(replace(ENTRY, session_id="", connection_id=""))
    assert not {"sora-session-id", "sora-connection-id"} & headers.keys()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(status: int) -> None:
    async with consuming(scripted(status)) as consumer:
        assert await post(WebhookConfig(url=consumer.url)) == Delivered(status)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 410, 429, 500, 503])
async def test_anything_else_is_refused(status: int) -> None:
    async with consuming(scripted(status)) as consumer:
        outcome = await post(WebhookConfig(url=consumer.url))
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.retry_after_s) == (status, None)


async def test_a_refusal_has_the_beginning_of_its_body_and_retry_after() -> None:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="busy " * 100, headers={"retry-after": "17"})

    async with consuming(answer) as consumer:
        assert await post(WebhookConfig(url=consumer.url)) == Refused(503, 17, ("busy " * 40))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with consuming() as elsewhere:

        async def answer(_: Post, __: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"location": elsewhere.url})

        async with consuming(answer) as consumer:
            outcome = await post(WebhookConfig(url=consumer.url))
        assert isinstance(outcome, Refused)
        assert outcome.status == status
        assert elsewhere.posts == []


async def test_no_answer_in_time_is_unreachable() -> None:
    never = asyncio.Event()

    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    async with consuming(answer) as consumer:
        outcome = await post(WebhookConfig(url=consumer.url, response_timeout_ns=SHORT_NS))
        assert outcome == Unreachable("timeout")
        never.set()


async def test_a_2xx_counts_though_its_body_never_ends() -> None:
    never = asyncio.Event()

    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"so far")
        await never.wait()
        return response

    async with consuming(answer) as consumer:
        assert await post(WebhookConfig(url=consumer.url, response_timeout_ns=SHORT_NS)) == Delivered(200)
        never.set()


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    """The consumer writes until we hang up; it would go on for ever."""
    hung_up = asyncio.Event()

    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except (ConnectionError, asyncio.CancelledError):
            hung_up.set()
            raise

    async with consuming(answer) as consumer:
        assert await post(WebhookConfig(url=consumer.url)) == Delivered(200)
        await hung_up.wait()


async def test_a_connection_is_used_again() -> None:
    ports = set()

    async def answer(_: Post, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response(text="thank you")

    async with consuming(answer) as consumer, Poster(WebhookConfig(), consumer.url) as poster:
        for _ in range(3):
            await poster.send(ENTRY, WALL_NS)
    assert len(ports) == 1


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = await post(WebhookConfig(url=f"http://127.0.0.1:{port}/"))
    assert isinstance(outcome, Unreachable)
    assert "ClientConnectorError" in outcome.reason


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://nowhere.invalid/", "http://a b/", "http://127.0.0.1:99999/", "x"]
)
async def test_an_unusable_url_is_unreachable(url: str) -> None:
    assert isinstance(await post(WebhookConfig(url=url, response_timeout_ns=3 * NS_PER_S)), Unreachable)


Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(data: bytes) -> Speak:
    """Read a request's head, answer with these bytes and hang up."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return speak


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 50,
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 99999 Strange\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_unreachable(answer: bytes) -> None:
    server = await asyncio.start_server(saying(answer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await post(WebhookConfig(url=f"http://127.0.0.1:{port}/", response_timeout_ns=2 * NS_PER_S))
    assert isinstance(outcome, Unreachable)


async def test_an_answer_is_not_unpacked() -> None:
    """What it says does not matter, and so nothing small becomes huge."""
    head = b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\n"
    server = await asyncio.start_server(saying(head + b"packed"), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await post(WebhookConfig(url=f"http://127.0.0.1:{port}/")) == Refused(500, None, "packed")


@pytest.mark.parametrize("body_bytes", [150_000, 900_000])
async def test_a_refusal_of_the_head_alone_is_shown_as_that_and_not_as_a_reset(body_bytes: int) -> None:
    """The consumer answers 413 to the announced length and closes, while the body is still on its way.

    https://github.com/backstrokeapp/server/issues/6
    """
    answer = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 7\r\n\r\nno more"
    server = await asyncio.start_server(saying(answer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await post(WebhookConfig(url=f"http://127.0.0.1:{port}/"), replace(ENTRY, body=b"x" * body_bytes))
    assert outcome == Refused(413, None, "no more")


async def test_basic_authentication_is_sent() -> None:
    async with consuming() as consumer:
        await post(WebhookConfig(url=consumer.url, basic_user="rokuga", basic_password="pass:word"))
    expected = base64.b64encode(b"rokuga:pass:word").decode()
    assert consumer.posts[0].headers["authorization"] == f"Basic {expected}"


async def test_cookies_are_not_kept() -> None:
    async def answer(_: Post, __: web.Request) -> web.StreamResponse:
        return web.Response(headers={"set-cookie": "a=b"})

    async with consuming(answer) as consumer, Poster(WebhookConfig(), consumer.url) as poster:
        await poster.send(ENTRY, WALL_NS)
        await poster.send(ENTRY, WALL_NS)
    assert "cookie" not in consumer.posts[1].headers


# TLS


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with consuming(tls=authority.server()) as consumer:
        outcome = await post(WebhookConfig(url=consumer.url))
        assert isinstance(outcome, Unreachable)
        assert "certificate" in outcome.reason.lower()
        assert await post(WebhookConfig(url=consumer.url, ca_file=authority.ca_file)) == Delivered(200)


async def test_a_consumer_that_asks_for_our_certificate_gets_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("rokuga")
    async with consuming(tls=authority.server(asks_for_client=True)) as consumer:
        config = WebhookConfig(url=consumer.url, ca_file=authority.ca_file)
        assert isinstance(await post(config), Unreachable)
        assert await post(replace(config, client_cert=certificate, client_key=key)) == Delivered(200)


async def test_certificates_that_cannot_be_read_raise_at_the_start(tmp_path: Path) -> None:
    for config in (WebhookConfig(ca_file=tmp_path / "none"), WebhookConfig(client_cert=tmp_path / "none")):
        with pytest.raises(OSError, match="No such file"):
            await post(config)


# Private addresses


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1"),
        *("[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::127.0.0.1]", "[2002:7f00:1::1]", "[2002:a00:1::1]"),
    ],
)
async def test_a_private_address_is_refused_by_name_and_by_number(host: str) -> None:
    async with consuming() as consumer:
        port = consumer.url.split(":")[2]
        outcome = await post(WebhookConfig(url=f"http://{host}:{port}", deny_private=True))
        assert isinstance(outcome, Unreachable)
        assert "private address" in outcome.reason
    assert consumer.posts == []


# Signature


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example that the reference libraries of Standard Webhooks test themselves with."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_with_a_secret_the_body_is_signed() -> None:
    async with consuming() as consumer:
        await post(WebhookConfig(url=consumer.url, secret="a plain secret"))
    headers = consumer.posts[0].headers
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("E", "1709251200")
    assert headers["webhook-signature"] == sign(b"a plain secret", "E", "1709251200", BODY)


def test_a_secret_that_is_not_base64_raises_at_the_start() -> None:
    with pytest.raises(ValueError, match="not base64"):
        Poster(WebhookConfig(secret="whsec_***"), "http://x/")


# Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("120", 120),
        ("Fri, 01 Mar 2024 00:01:00 GMT", 60),
        ("Fri, 01 Mar 2024 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 00:00:00 GMT", 0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("9" * 5000, None),
        ("soon", None),
        ("Fri, 99 Mar 2024 00:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, expected: int | None) -> None:
    """RFC 9110 section 10.2.3."""
    assert retry_after_s(value, WALL_NS) == expected


@given(st.text())
def test_any_retry_after_is_a_number_or_nothing(value: str) -> None:
    seconds = retry_after_s(value, WALL_NS)
    assert seconds is None or seconds >= 0
