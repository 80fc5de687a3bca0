"""Connections whose client does not read: limits on their buffers, and the kernel's timeout."""

import asyncio
import socket
from pathlib import Path

import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from rokuga.api.daemon import running
from rokuga.api.http.protocol import HttpProtocol
from rokuga.api.http.slow_readers import USER_TIMEOUT_MS, SlowReaders
from tests.api.serving import config_in, served
from tests.api.streams import all_of, connected, port_of, start_reading, stop_reading


class BufferedTransport(asyncio.Transport):
    """A transport with a given amount of buffered data."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        """Return the size."""
        return self.size_bytes

    def abort(self) -> None:
        """Record the call."""
        self.is_aborted = True


def test_the_oldest_of_too_many_slow_readers_is_aborted() -> None:
    readers = SlowReaders(max_connections=2, max_bytes=100)
    transports = [BufferedTransport(10) for _ in range(4)]
    for transport in transports:
        readers.add(transport)
    assert [each.is_aborted for each in transports] == [True, True, False, False]


def test_the_oldest_slow_readers_are_aborted_until_the_buffers_are_within_the_limit() -> None:
    readers = SlowReaders(max_connections=10, max_bytes=100)
    transports = [BufferedTransport(40) for _ in range(3)]
    readers.add(transports[0])
    readers.add(transports[1])
    readers.remove(transports[0])
    readers.add(transports[2])
    assert not any(each.is_aborted for each in transports)
    readers.add(BufferedTransport(60))
    assert [each.is_aborted for each in transports] == [False, True, False]
    readers.add(BufferedTransport(1000))
    assert len(readers) == 0


async def test_a_client_that_sends_requests_and_does_not_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends a thousand requests for a large document and reads no response."""
    monkeypatch.setattr("rokuga.api.http.slow_readers.SlowReaders.__init__", _strict)
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.api_url)) as first, connected(port_of(addresses.api_url)) as second:
            for stream in (first, second):
                stop_reading(stream)
                stream[1].write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            start_reading(first)
            assert len(await all_of(first[0])) < 100_000_000
            second[1].transport.abort()


def _strict(readers: SlowReaders) -> None:
    readers._max_connections, readers._max_bytes, readers._transports = 1, 1 << 30, {}


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets of the connections that a server has accepted."""
    sockets: list[socket.socket] = []
    connection_made = HttpProtocol.connection_made

    def recorded(protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        sockets.append(transport.get_extra_info("socket"))
        connection_made(protocol, transport)

    monkeypatch.setattr(HttpProtocol, "connection_made", recorded)
    return sockets


def user_timeout_ms(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


async def test_a_websocket_has_the_kernel_s_user_timeout(accepted: list[socket.socket]) -> None:
    """Its client may stop reading at any time, also after the server has closed it."""
    timeouts: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        timeouts.append(user_timeout_ms(accepted[0]))
        await websocket.close()

    async with (
        served(Starlette(routes=[WebSocketRoute("/", endpoint)])) as address,
        websockets.connect(f"ws://{address}/") as client,
    ):
        await client.wait_closed()
    assert timeouts == [USER_TIMEOUT_MS]


async def test_a_response_that_is_closed_unread_has_the_kernel_s_user_timeout(accepted: list[socket.socket]) -> None:
    """A connection that stays open has none: its client may read slowly."""
    timeouts: list[int] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(bytes(32 << 20))(scope, receive, send)
        timeouts.append(user_timeout_ms(accepted[-1]))

    async with served(Starlette(routes=[Mount("/", endpoint)])) as address:
        for headers in (b"", b"Connection: close\r\n"):
            async with connected(port_of(address)) as stream:
                stream[1].write(b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % headers)
                while len(timeouts) < 1 + bool(headers):
                    await stream[0].read(1 << 16)
                stream[1].transport.abort()
    assert timeouts == [0, USER_TIMEOUT_MS]
