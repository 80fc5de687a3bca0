"""The acceptor over real sockets: rates, trusted proxies, TLS behind them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rokuga.api.config.loader import DaemonConfig
from rokuga.api.http.address_text import Network
from rokuga.api.http.connection_limits import ConnectionCounts
from rokuga.api.http.middleware import RefusedRequests, RequestPolicyMiddleware
from rokuga.api.http.request_policy import RequestPolicy
from rokuga.api.http.server import listen, serve
from rokuga.recorder.clock import Clock
from tests.api.streams import all_of, connected, port_of, read_answer
from tests.webhooks.certificates import Authority

HERE = Network(bytes([127, 0, 0, 1]), 32)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _client(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "nobody")


@contextlib.asynccontextmanager
async def served(config: DaemonConfig, refused: ConnectionCounts) -> AsyncIterator[int]:
    """Serve an application that responds with the client's address; yield the port."""
    app = Starlette(routes=[Route("/", _client)])
    refusals = RefusedRequests(Clock())
    app.add_middleware(
        RequestPolicyMiddleware,
        policy=RequestPolicy(None, None),
        exceptions={},
        refused=refusals,
        trusted=config.trusted_proxies,
    )
    async with serve(app, "127.0.0.1", listen("127.0.0.1", 0), config, refused) as address:
        yield port_of(address)


async def _ask(port: int, *pieces: bytes) -> bytes:
    async with connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01 * (len(pieces) > 1))  # so that each is a segment of its own
        return (await read_answer(reader))[2]


async def test_a_trusted_proxy_reports_the_client_by_the_proxy_protocol() -> None:
    async with served(DaemonConfig(trusted_proxies=(HERE,)), ConnectionCounts()) as port:
        header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n"
        assert await _ask(port, header + GET) == b"192.0.2.1"
        assert await _ask(port, header[:20], header[20:], GET) == b"192.0.2.1"
        assert await _ask(port, b"PROXY UNKNOWN\r\n" + GET) == b"127.0.0.1"
        assert await _ask(port, GET) == b"127.0.0.1"
        assert await _ask(port, GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n")) == b"192.0.2.2"
        async with connected(port) as (reader, writer):
            writer.write(b"PROXY TCP4 localhost\r\n" + GET)
            assert await all_of(reader) == b""


async def test_the_proxy_protocol_of_other_clients_is_malformed() -> None:
    async with served(DaemonConfig(), ConnectionCounts()) as port:
        assert await _ask(port, GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n")) == b"127.0.0.1"
        async with connected(port) as (reader, writer):
            writer.write(b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n" + GET)
            assert (await read_answer(reader))[0] == 400


async def test_connections_above_the_rate_of_an_address_are_delayed() -> None:
    """None is reset; other addresses are not delayed, and silent connections do not count."""
    refused = ConnectionCounts()
    async with served(DaemonConfig(trusted_proxies=(HERE,), max_connects_per_second=20), refused) as port:
        flood = b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n" + GET
        other = b"PROXY TCP4 192.0.2.2 10.0.0.1 4660 3000\r\n" + GET
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(100):
                await stack.enter_async_context(connected(port))
            answers = await asyncio.gather(*(_ask(port, flood) for _ in range(30)), _ask(port, other))
    assert answers == [b"192.0.2.1"] * 30 + [b"192.0.2.2"]
    assert refused.delayed >= 9
    assert (refused.too_many, refused.evicted) == (0, 0)


async def test_delayed_connections_are_closed_with_the_port() -> None:
    async with contextlib.AsyncExitStack() as stack:
        config = replace(DaemonConfig(trusted_proxies=(HERE,)), max_connects_per_second=1)
        async with served(config, ConnectionCounts()) as port:
            streams = [await stack.enter_async_context(connected(port)) for _ in range(5)]
            for _, writer in streams:
                writer.write(b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n" + GET)
            assert (await read_answer(streams[0][0]))[0] == 200
        for reader, _ in streams[1:]:
            await all_of(reader)


@pytest.mark.parametrize("is_proxied", [False, True])
async def test_tls_begins_after_the_proxy_header(tmp_path: Path, is_proxied: bool) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    config = DaemonConfig(trusted_proxies=(HERE,), tls_certificate=certificate, tls_key=key)
    async with served(config, ConnectionCounts()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if is_proxied:
            writer.write(b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n")
        await writer.start_tls(ssl.create_default_context(cafile=authority.ca_file), server_hostname="localhost")
        writer.write(GET)
        assert (await read_answer(reader))[2] == (b"192.0.2.1" if is_proxied else b"127.0.0.1")
        writer.close()
        await writer.wait_closed()
