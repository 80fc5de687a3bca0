"""Limits of unauthenticated TCP connections: STUN only, for a while, and not too many."""

import asyncio
import contextlib
import socket
from random import Random

import pytest

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.transport import tcp_admission, tcp_port
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from rokuga.recorder.webrtc.transport.tcp_admission import MAX_FAILED_PER_S, MAX_UNAUTHENTICATED_PER_ADDRESS
from tests.material import ManualClock
from tests.recorder.webrtc.tcp_client import TcpClient, connected
from tests.recorder.webrtc.udp_client import DTLS, SRTP, CollectingPeer, check, until

WITH_TCP = True


@pytest.mark.parametrize("data", [SRTP, DTLS, b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff"])
async def test_an_unauthenticated_connection_may_send_nothing_but_stun(port: MediaPort, data: bytes) -> None:
    sink = CollectingPeer(port, "peer")
    async with connected(port) as client:
        client.send(data)
        assert await client.is_closed()
    assert not sink.media
    assert port.counters.unauthenticated == 1


async def test_an_unauthenticated_connection_is_closed_after_too_many_checks(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    async with connected(port) as client:
        client.send(*[check("peer", password="wrong")] * (tcp_port.MAX_UNAUTHENTICATED_DATAGRAMS - 1))
        client.send(check("peer", password="wrong"), check("peer"))
        assert await client.is_closed()
    assert sink.flow.ice.path is None


async def test_a_connection_without_a_peer_is_closed_after_a_while(
    port: MediaPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = CollectingPeer(port, "peer")
    async with connected(port) as client:
        await client.validate("peer")
        monkeypatch.setattr(tcp_port, "VALIDATION_S", 0.01)
        async with connected(port) as silent:
            assert await silent.is_closed()
        (connection,) = port._tcp.connections
        connection._expire()
        client.send(SRTP)
        await until(lambda: sink.media)
        sink.flow.close()
        assert await client.is_closed()


async def test_unauthenticated_connections_of_an_address_are_limited_but_validated_ones_are_not(
    port: MediaPort,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(MAX_UNAUTHENTICATED_PER_ADDRESS + 4):
            CollectingPeer(port, f"peer{number}")
            await (await stack.enter_async_context(connected(port))).validate(f"peer{number}")
        unauthenticated = [
            await stack.enter_async_context(connected(port)) for _ in range(MAX_UNAUTHENTICATED_PER_ADDRESS)
        ]
        refused = await stack.enter_async_context(connected(port))
        assert await refused.is_closed()
        unauthenticated[0].writer.transport.abort()
        await until(lambda: port._tcp.admission.unauthenticated == MAX_UNAUTHENTICATED_PER_ADDRESS - 1)
        CollectingPeer(port, "late")
        await (await stack.enter_async_context(connected(port))).validate("late")


async def fail(port: MediaPort, times: int) -> None:
    """Connect and close without a check so many times; return when that was noticed."""
    before = port._tcp.admission.failed
    for _ in range(times):
        async with connected(port):
            pass
    await until(lambda: port._tcp.admission.failed == before + times)


async def test_an_address_whose_connections_fail_is_refused_until_the_next_second() -> None:
    """Other addresses are not refused, and validated connections from there continue."""
    hand = ManualClock()
    async with MediaPort(0, ("127.0.0.1",), hand.clock(), with_tcp=True) as port:
        sink = CollectingPeer(port, "peer")
        async with connected(port) as peer:
            await peer.validate("peer")
            await fail(port, MAX_FAILED_PER_S)
            async with connected(port) as refused:
                assert await refused.is_closed()
            assert port.counters.refused == 1
            other = socket.socket()
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", port.port))
            CollectingPeer(port, "other")
            neighbour = TcpClient(*await asyncio.open_connection(sock=other))
            await neighbour.validate("other")
            neighbour.writer.transport.abort()
            peer.send(SRTP)
            await until(lambda: sink.media)
            hand.now_ns += NS_PER_S
            async with connected(port) as again:
                await again.validate("other")


async def test_any_number_of_clients_behind_one_nat_may_connect_in_one_second() -> None:
    hand = ManualClock()
    async with MediaPort(0, ("127.0.0.1",), hand.clock(), with_tcp=True) as port:
        for number in range(2 * MAX_FAILED_PER_S):
            CollectingPeer(port, f"peer{number}")
            async with connected(port) as client:
                await client.validate(f"peer{number}")
        assert port.counters.refused == 0


async def test_unauthenticated_connections_in_all_are_limited(
    port: MediaPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_admission, "MAX_UNAUTHENTICATED", 1)
    async with connected(port), connected(port) as refused:
        assert await refused.is_closed()


async def test_random_bytes_close_only_their_connection(port: MediaPort) -> None:
    sink, random = CollectingPeer(port, "peer"), Random(1)
    async with connected(port) as client:
        await client.validate("peer")
        for _ in range(40):
            async with connected(port) as other:
                other.writer.write(random.randbytes(random.randrange(1, 3000)))
                other.writer.write_eof()
                assert await other.is_closed()
        client.send(SRTP)
        await until(lambda: sink.media)
    assert not sink.faults
