"""ICE-TCP over sockets on loopback: framing, and paths that are opened and closed."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.webrtc.transport import tcp_port
from rokuga.recorder.webrtc.transport.addresses import is_local
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES
from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.machine import lacks
from tests.recorder.webrtc.tcp_client import TcpClient, connected, frame
from tests.recorder.webrtc.udp_client import DTLS, SRTP, CollectingPeer, UdpClient, until

WITH_TCP = True


async def test_a_passive_candidate_of_each_address_is_offered_on_the_same_port() -> None:
    async with MediaPort(0, ("127.0.0.1", "127.0.0.2", "203.0.113.9:15004"), with_tcp=True) as port:
        assert [(each.host, each.port, each.transport) for each in port.candidates] == [
            ("127.0.0.1", port.port, "udp"),
            ("127.0.0.2", port.port, "udp"),
            ("203.0.113.9", 15004, "udp"),
            ("127.0.0.1", port.port, "tcp"),
            ("127.0.0.2", port.port, "tcp"),
            ("203.0.113.9", 15004, "tcp"),
        ]


async def test_nothing_listens_on_tcp_without_with_tcp() -> None:
    async with MediaPort(0, ("127.0.0.1",)) as port:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port.port)


async def test_media_and_dtls_go_to_the_peer_and_answers_come_back(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    async with connected(port) as client:
        await client.validate("peer")
        client.send(SRTP, DTLS, SRTP + b"2")
        await until(lambda: len(sink.media) == 2 and sink.dtls)
        sink.flow.send(b"hello")
        assert await client.receive() == b"hello"
    assert (sink.media, sink.dtls) == ([SRTP, SRTP + b"2"], [DTLS])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=80) | st.just(bytes(MAX_DATAGRAM_BYTES - 2)), min_size=1, max_size=12),
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
)
def test_the_datagrams_do_not_depend_on_how_the_stream_is_divided(tails: list[bytes], cuts: list[int]) -> None:
    async def deliver() -> None:
        async with MediaPort(0, ("127.0.0.1",), with_tcp=True) as port:
            sink = CollectingPeer(port, "peer")
            async with connected(port) as client:
                client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await client.validate("peer")
                stream = b"".join(frame(b"\x80\x60" + tail) for tail in tails)
                while stream:
                    cut, stream = stream[: cuts[0]], stream[cuts[0] :]
                    cuts.append(cuts.pop(0))
                    client.writer.write(cut)
                    await asyncio.sleep(0)
                await until(lambda: len(sink.media) == len(tails))
        assert sink.media == [b"\x80\x60" + tail for tail in tails]

    asyncio.run(deliver())


async def test_a_peer_switches_from_udp_to_tcp_and_back(port: MediaPort) -> None:
    """By checks that nominate; after the connection breaks, datagrams are lost until the next check."""
    sink = CollectingPeer(port, "peer")
    with UdpClient(("127.0.0.1", port.port)) as udp:
        await udp.validate("peer")
        async with connected(port) as tcp:
            await tcp.validate("peer")
            sink.flow.send(b"by tcp")
            assert await tcp.receive() == b"by tcp"
            udp.send(SRTP)
            tcp.send(SRTP + b"2")
            await until(lambda: len(sink.media) == 2)
        await until(lambda: sink.flow.ice.path is None)
        sink.flow.send(b"lost")
        await udp.validate("peer")
        sink.flow.send(b"by udp")
        assert (await udp.receive())[0] == b"by udp"
    assert len(sink.flow.paths) == 1


async def test_ipv6_works_beside_ipv4() -> None:
    if not is_local("::1"):
        lacks("this host has no IPv6")
    async with MediaPort(0, ("127.0.0.1", "::1"), with_tcp=True) as port:
        sink = CollectingPeer(port, "peer")
        for host in ("::1", "127.0.0.1"):
            async with connected(port, host) as client:
                await client.validate("peer")
                client.send(SRTP)
                await until(lambda: sink.media)
                sink.media.clear()


@pytest.mark.parametrize("size", [0, MAX_DATAGRAM_BYTES + 1, 65535])
async def test_a_frame_of_invalid_size_closes_the_connection(port: MediaPort, size: int) -> None:
    CollectingPeer(port, "peer")
    async with connected(port) as client:
        await client.validate("peer")
        client.writer.write(size.to_bytes(2, "big") + b"\x80")
        assert await client.is_closed()
    assert port.counters.bad_size == 1


async def test_too_many_tiny_frames_close_the_connection(port: MediaPort) -> None:
    CollectingPeer(port, "peer")
    async with connected(port) as client:
        await client.validate("peer")
        client.send(*[b"\x80"] * 10 * tcp_port.MAX_FRAMES)
        assert await client.is_closed()


async def test_a_connection_replaces_one_from_the_same_address_whose_end_was_not_read(
    port: MediaPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading pauses, so the new one is accepted first; the end of the old one must not affect it."""
    monkeypatch.setattr(tcp_port, "PAUSE_S", 0.1)
    sink = CollectingPeer(port, "peer")
    from_port = 0
    for is_last in (False, True):
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        opened.bind(("127.0.0.1", from_port))
        opened.connect(("127.0.0.1", port.port))
        from_port = opened.getsockname()[1]
        client = TcpClient(*await asyncio.open_connection(sock=opened))
        await client.validate("peer")
        if not is_last:
            client.writer.transport.abort()
            await client.writer.wait_closed()
    for count in (1, 2, 3):
        client.send(SRTP)
        await until(lambda count=count: len(sink.media) == count)  # type: ignore[misc]  # bound on purpose
    client.writer.transport.abort()
    await until(lambda: not port._tcp.connections)
    assert not sink.flow.paths


async def test_datagrams_for_a_slow_reader_are_lost_and_not_buffered(port: MediaPort) -> None:
    sink = CollectingPeer(port, "peer")
    async with connected(port) as client:
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.validate("peer")
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # the stream has no word for it
        while not port.counters.send_errors:
            for _ in range(100):
                sink.flow.send(bytes(1200))
            await asyncio.sleep(0)
        (connection,) = port._tcp.connections
        assert connection.unsent_bytes <= tcp_port.MAX_UNSENT_BYTES
        client.send(SRTP)
        await until(lambda: sink.media)


async def test_sending_after_the_end_is_ignored() -> None:
    async with MediaPort(0, ("127.0.0.1",), with_tcp=True) as port:
        sink = CollectingPeer(port, "peer")
        async with connected(port) as client:
            await client.validate("peer")
            path = sink.flow.ice.path
        await until(lambda: sink.flow.ice.path is None)
        assert path is not None
        port._send(b"lost", path)
        assert port.counters.send_errors == 1
    sink.flow.send(b"lost")
