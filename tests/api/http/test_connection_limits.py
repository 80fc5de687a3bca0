"""Connection limits, alone and in both ports of the real daemon."""

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import websockets
from structlog.testing import capture_logs

from rokuga.api.daemon import Addresses, running
from rokuga.api.http.connection_limits import ConnectionCounts, ConnectionLimits, HttpConnection
from rokuga.api.http.framing import MAX_HEAD_BYTES
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S
from tests.api.serving import config_in
from tests.api.streams import all_of, connected, port_of, status_of

Port = Callable[[Addresses], int]
PORTS = [
    pytest.param(lambda addresses: port_of(addresses.api_url), id="api"),
    pytest.param(lambda addresses: port_of(addresses.signaling_url), id="signalling"),
]


async def is_refused(port: int) -> bool:
    """Return whether a connection is closed at once."""
    try:
        async with connected(port) as (reader, _):
            return await all_of(reader) == b""
    except ConnectionResetError:
        return True


CONNECT = '{"type":"connect","role":"sendonly","channel_id":"sora"}'


class LimitsUnderTest:
    """Limits that record the names of the connections that they close."""

    def __init__(self, max_connections: int) -> None:
        self.now_ns = 0
        self.limits = ConnectionLimits(max_connections, 5, Clock(monotonic_ns=lambda: self.now_ns))
        self.closed: list[str] = []

    def admit(self, owner: str, name: str = "") -> HttpConnection | None:
        """Admit one."""
        return self.limits.admit(owner, lambda: self.closed.append(name or owner))

    def verified(self, owner: str, name: str = "") -> HttpConnection:
        """Admit one and verify it."""
        connection = self.admit(owner, name)
        assert connection is not None
        connection.mark_busy()
        return connection


def test_the_address_with_most_silent_connections_loses_its_oldest() -> None:
    tested = LimitsUnderTest(max_connections=20)
    assert tested.limits.max_unverified == 10
    for number in range(400):
        tested.admit("flood", f"flood {number}")
        if number == 100:
            tested.admit("client")
    assert "client" not in tested.closed
    assert tested.closed == [f"flood {number}" for number in range(391)]


def test_among_equal_clients_the_oldest_connection_is_closed() -> None:
    tested = LimitsUnderTest(max_connections=4)
    for owner in ("first", "second", "third"):
        tested.admit(owner)
    assert tested.closed == ["first"]


def test_a_verified_connection_is_not_closed_for_silent_ones() -> None:
    tested = LimitsUnderTest(max_connections=10)
    for number in range(9):
        tested.verified("client", f"client {number}")
    for number in range(50):
        assert tested.admit("flood", f"flood {number}") is not None
    assert not [name for name in tested.closed if name.startswith("client")]


def test_when_all_are_busy_a_new_connection_is_refused() -> None:
    tested = LimitsUnderTest(max_connections=3)
    busy = [tested.verified("client") for _ in range(3)]
    assert tested.admit("other") is None
    assert (tested.closed, tested.limits.counts.too_many) == ([], 1)
    busy[0].mark_closed()
    busy[0].mark_closed()
    assert tested.admit("other") is not None


def test_an_idle_connection_is_closed_for_a_new_one() -> None:
    """Between two requests a connection may be closed (RFC 9112 section 9.3); nothing is lost."""
    tested = LimitsUnderTest(max_connections=3)
    for name in ("a", "b", "c"):
        tested.verified("client", name).mark_idle()
    assert tested.admit("other") is not None
    assert tested.closed == ["a"]


def test_a_client_behind_a_proxy_is_counted_by_its_own_address() -> None:
    tested = LimitsUnderTest(max_connections=6)
    named = tested.admit("proxy", "named")
    assert named is not None
    named.set_owner("client")
    for number in range(10):
        tested.admit("proxy", f"proxy {number}")
    assert "named" not in tested.closed


def test_closed_connections_are_one_log_line_a_second() -> None:
    tested = LimitsUnderTest(max_connections=2)
    with capture_logs() as lines:
        for _ in range(100):
            tested.admit("flood")
        tested.now_ns = NS_PER_S
        tested.admit("flood")
    assert [line["count"] for line in lines] == [1, 99]
    assert tested.limits.counts.evicted == 100


def test_connections_are_counted_exactly_once() -> None:
    tested = LimitsUnderTest(max_connections=100)
    connections = [tested.verified(str(number % 7)) for number in range(50)]
    for connection in connections:
        connection.mark_idle()
        connection.mark_busy()
        connection.mark_idle()
        connection.mark_closed()
        connection.mark_busy()
        connection.mark_idle()
    for _ in range(100):
        tested.verified("other")
    assert tested.closed == []
    assert tested.admit("other") is None


@pytest.mark.parametrize("port", PORTS)
async def test_silent_connections_do_not_keep_a_client_out(tmp_path: Path, port: Port) -> None:
    """As many as the limit, and more: the oldest silent ones are closed."""
    async with running(replace(config_in(tmp_path), max_connections=20)) as addresses:
        async with contextlib.AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(connected(port(addresses))) for _ in range(40)]
            for _ in range(10):
                assert await status_of(await stack.enter_async_context(connected(port(addresses))))
            assert await all_of(silent[0][0]) == b""


@pytest.mark.parametrize("port", PORTS)
async def test_local_clients_have_no_limit_per_second(tmp_path: Path, port: Port) -> None:
    """Consecutive and concurrent requests, each on a connection of its own."""
    async with running(replace(config_in(tmp_path), max_connects_per_second=1)) as addresses:

        async def call() -> int:
            async with connected(port(addresses)) as stream:
                return await status_of(stream)

        assert all([await call() for _ in range(20)])
        assert all(await asyncio.gather(*(call() for _ in range(50))))


async def test_an_accepted_connect_verifies_the_connection(tmp_path: Path) -> None:
    """A WebSocket is one connection, and the deadline of its handshake is cancelled."""
    async with running(replace(config_in(tmp_path), max_connections=1)) as addresses:
        async with websockets.connect(addresses.signaling_url) as client:
            await client.send(CONNECT)
            assert '"offer"' in str(await client.recv())
            assert await is_refused(port_of(addresses.signaling_url))
            await (await client.ping())


async def test_refusals_are_in_the_metrics(tmp_path: Path) -> None:
    """Requests of both ports together."""
    async with running(config_in(tmp_path)) as addresses:
        for url in (addresses.api_url, addresses.signaling_url):
            async with connected(port_of(url)) as stream:
                assert await status_of(stream, b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n") == 421
            async with connected(port_of(url)) as stream:
                assert await status_of(stream, b"GET / HTTP/1.1\r\n\r\n") == 400
        async with aiohttp.ClientSession() as session, session.get(f"{addresses.api_url}metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'rokuga_connections_refused_total{limit="max_connections"} 0.0' in lines
    assert 'rokuga_connections_refused_total{limit="unverified"} 0.0' in lines
    assert "rokuga_connections_delayed_total 0.0" in lines
    assert "rokuga_requests_malformed_total 2.0" in lines
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
        async with connected(port(addresses)) as stream:
            assert await status_of(stream, head) in {431, 0}  # what was on its way may reset the answer
        async with connected(port(addresses)) as stream:
            long = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 8000 + b"\r\n\r\n"
            assert await status_of(stream, long)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    ("begun", "answers"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"POST / HTTP/1.1\r\nhost:", [b"408"], id="head"),
        pytest.param(b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{", None, id="body"),
        pytest.param(b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\nGET ", [b"404", b"408"], id="second"),
    ],
)
async def test_an_incomplete_request_times_out(
    tmp_path: Path, port: Port, begun: bytes, answers: list[bytes] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(
        max_connections: int, max_per_second: int, clock: Clock, counts: ConnectionCounts
    ) -> ConnectionLimits:
        return ConnectionLimits(max_connections, max_per_second, clock, counts, request_s=0.2)

    monkeypatch.setattr("rokuga.api.http.server.ConnectionLimits", impatient)
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port(addresses)) as (reader, writer):
            writer.write(begun)
            answered = await all_of(reader)
    statuses = [part[:3] for part in answered.split(b"HTTP/1.1 ")[1:]]
    assert answers is None or statuses == answers


async def test_a_closed_connection_leaves_no_objects(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as addresses:
        for _ in range(3):
            async with connected(port_of(addresses.api_url)) as stream:
                assert await status_of(stream)
                stream[1].write_eof()
                await all_of(stream[0])
            async with connected(port_of(addresses.signaling_url)) as stream:
                stream[1].write_eof()
                await all_of(stream[0])
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each).__name__ in {"HttpProtocol", "_Accepted"}]
