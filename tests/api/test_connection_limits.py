"""Both ports of the real daemon under more connections, longer heads and slower requests than they take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import websockets
from structlog.testing import capture_logs

from rokuga.api.connection_limits import MAX_HEAD_BYTES, ConnectionLimits, Refused
from rokuga.api.daemon import Addresses, running
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from tests.api.serving import config_in

Port = Callable[[Addresses], int]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PORTS = [
    pytest.param(lambda addresses: _port(addresses.api_url), id="api"),
    pytest.param(lambda addresses: _port(addresses.signaling_url), id="signalling"),
]


def _port(url: str) -> int:
    return int(url.split("/")[2].rpartition(":")[2])


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the other end closes; b"" where it resets."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def _status(stream: Stream, head: bytes = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n") -> bytes:
    """Ask; give the status, b"" where the connection is closed without an answer."""
    reader, writer = stream
    try:
        writer.write(head)
        return (await reader.readline())[9:12]
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("port", PORTS)
async def test_one_connection_too_many_is_closed_and_its_place_is_free_again(tmp_path: Path, port: Port) -> None:
    async with running(replace(config_in(tmp_path), max_connections=3)) as addresses:
        number = port(addresses)
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(_connected(number)) for _ in range(3)]
            assert all([await _status(stream) for stream in streams])
            async with _connected(number) as (reader, _):
                assert await _all_of(reader) == b""
        status = b""
        while not status:  # until the daemon has seen that they are gone
            async with _connected(number) as stream:
                status = await _status(stream)


@pytest.mark.parametrize("port", PORTS)
async def test_signalling_counts_and_keeps_its_place(tmp_path: Path, port: Port) -> None:
    """A WebSocket is one connection, and no deadline is left over from its handshake."""
    async with running(replace(config_in(tmp_path), max_connections=1)) as addresses:
        async with websockets.connect(addresses.signaling_url) as client:
            async with _connected(_port(addresses.signaling_url)) as (reader, _):
                assert await _all_of(reader) == b""
            await (await client.ping())


async def test_an_address_that_connects_too_often_waits_for_the_next_second() -> None:
    """Others are not concerned; all that was refused in a second is one line, and counted by its limit."""
    now_ns = [0]
    limits = ConnectionLimits(100, 5, Clock(monotonic_ns=lambda: now_ns[0]))
    with capture_logs() as lines:
        assert [limits.admits("192.0.2.1", 1) for _ in range(7)] == [True] * 5 + [False] * 2
        assert limits.admits("192.0.2.2", 1)
        now_ns[0] = NS_PER_S
        assert limits.admits("192.0.2.1", 1)
        assert not limits.admits("192.0.2.1", 101)
    assert [(line["count"], line["addresses"]) for line in lines] == [(2, 2)]
    assert await limits.refused.counters() == {
        "connections_refused": {"max_connections": 1, "max_connects_per_second": 2}
    }


@pytest.mark.parametrize("port", PORTS)
async def test_a_flood_of_connects_is_refused(tmp_path: Path, port: Port) -> None:
    async with running(replace(config_in(tmp_path), max_connects_per_second=1)) as addresses:
        statuses = []
        while b"" not in statuses:
            async with _connected(port(addresses)) as stream:
                statuses.append(await _status(stream))


async def test_what_was_refused_is_in_the_metrics(tmp_path: Path) -> None:
    """Connections and requests, of both ports together."""
    async with running(replace(config_in(tmp_path), max_connections=2)) as addresses:
        for url in (addresses.api_url, addresses.signaling_url):
            async with _connected(_port(url)) as stream, _connected(_port(url)):
                assert await _status(stream, b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n") == b"421"
                async with _connected(_port(url)) as (reader, _):
                    assert await _all_of(reader) == b""
        async with aiohttp.ClientSession() as session, session.get(f"{addresses.api_url}metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'rokuga_connections_refused_total{limit="max_connections"} 2.0' in lines
    assert 'rokuga_requests_refused_total{reason="HOST-NOT-ALLOWED"} 2.0' in lines


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /" + b"a" * MAX_HEAD_BYTES * 8, id="path"),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES * 8, id="value"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * (MAX_HEAD_BYTES // 2), id="lines"),
    ],
)
async def test_a_head_without_end_is_refused(tmp_path: Path, port: Port, head: bytes) -> None:
    async with running(config_in(tmp_path)) as addresses:
        async with _connected(port(addresses)) as stream:
            assert await _status(stream, head) in {b"431", b""}  # what was on its way may reset the answer
        async with _connected(port(addresses)) as stream:
            assert await _status(stream, b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 8000 + b"\r\n\r\n")


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST / HTTP/1.1\r\nhost:", id="head"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{", id="body"),
        pytest.param(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET ", id="second"),
    ],
)
async def test_a_request_that_is_never_whole_ends(
    tmp_path: Path, port: Port, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(max_connections: int, max_per_second: int, clock: Clock, refused: Refused) -> ConnectionLimits:
        return ConnectionLimits(max_connections, max_per_second, clock, refused, request_s=0.2)

    monkeypatch.setattr("rokuga.api.http_server.ConnectionLimits", impatient)
    async with running(config_in(tmp_path)) as addresses:
        async with _connected(port(addresses)) as (reader, writer):
            writer.write(begun)
            await _all_of(reader)
