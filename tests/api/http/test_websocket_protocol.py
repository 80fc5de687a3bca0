"""The WebSocket protocol with clients that send too much, or do not read."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import pytest
import websockets

from rokuga.api.daemon import running
from rokuga.api.http.websocket_protocol import FRAMES_AT_ONCE, READ_BYTES, WebsocketProtocol
from tests.api.serving import config_in
from tests.api.streams import Stream, connected, port_of, stop_reading

HANDSHAKE = (
    b"GET /signaling HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CONNECT = '{"type":"connect","role":"sendonly","channel_id":"あ","sdp":"%s"}' % ("x" * 6000)


def frame(opcode: int, payload: bytes, *, is_last: bool = True) -> bytes:
    """Return a client's frame with a mask of zeros (RFC 6455 section 5.2)."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([0x80 * is_last | opcode]) + length + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame of the server: opcode and payload."""
    first, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    return first & 15, await reader.readexactly(length)


async def shake_hands(stream: Stream, behind: bytes = b"") -> None:
    """Complete the handshake of a WebSocket."""
    reader, writer = stream
    writer.write(HANDSHAKE + behind)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


def fragments(payload: bytes) -> list[bytes]:
    """Split a message into fragments of 16 bytes, with an empty one and a ping after every tenth."""
    pieces = [payload[place : place + 16] for place in range(0, len(payload), 16)]
    pieces.insert(5, b"")
    frames = []
    for number, piece in enumerate(pieces):
        frames.append(frame(1 if number == 0 else 0, piece, is_last=number == len(pieces) - 1))
        if number % 10 == 9:
            frames.append(frame(9, b"%05d" % number))
    return frames


@pytest.mark.parametrize("step", [1, 100_000])
async def test_fragments_are_joined_and_pings_between_them_answered(tmp_path: Path, step: int) -> None:
    """https://github.com/peace-maker/sm-websocket/issues/1."""
    frames = fragments(CONNECT.encode())
    sent = b"".join(frames)
    pings = [each[6:] for each in frames if each[0] & 15 == 9]
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.signaling_url)) as stream:
            await shake_hands(stream)
            for place in range(0, len(sent), step):
                stream[1].write(sent[place : place + step])
            answered = [await read_frame(stream[0]) for _ in range(len(pings) + 1)]
    assert [payload for opcode, payload in answered if opcode == 10] == pings
    assert [b'"offer"' in payload for opcode, payload in answered if opcode == 1] == [True]


async def test_a_ping_in_fragments_is_an_error(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.signaling_url)) as stream:
            await shake_hands(stream)
            stream[1].write(frame(9, b"x", is_last=False))
            opcode, payload = await read_frame(stream[0])
    assert (opcode, payload[:2]) == (8, struct.pack("!H", 1002))


async def test_frames_in_the_segment_of_the_handshake_are_read(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.signaling_url)) as stream:
            await shake_hands(stream, frame(9, b"early"))
            assert await read_frame(stream[0]) == (10, b"early")


async def test_frames_above_the_rate_stay_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is answered, and the rest is not parsed, which is what takes time."""
    answered = []
    answer = WebsocketProtocol.handle_ping

    def note(protocol: WebsocketProtocol) -> None:
        answered.append(protocol)
        answer(protocol)

    monkeypatch.setattr(WebsocketProtocol, "handle_ping", note)
    monkeypatch.setattr("rokuga.api.http.websocket_protocol.FRAMES_PER_SECOND", 1)
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.signaling_url)) as stream:
            await shake_hands(stream)
            stream[1].write(frame(9, b"") * 20_000)
            for _ in range(FRAMES_AT_ONCE):
                await stream[0].readexactly(2)
            async with websockets.connect(addresses.signaling_url) as other:
                await (await other.ping())
            assert FRAMES_AT_ONCE <= len(answered) <= FRAMES_AT_ONCE + READ_BYTES


async def test_a_client_that_does_not_read_has_one_buffer_and_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rokuga.api.http.websocket_protocol.STALLED_S", 0.5)
    monkeypatch.setattr("rokuga.api.http.websocket_protocol.FRAMES_AT_ONCE", 1_000_000)
    buffered = []
    begin, answer = WebsocketProtocol.connection_made, WebsocketProtocol.handle_ping

    def narrow(protocol: WebsocketProtocol, transport: asyncio.BaseTransport) -> None:
        begin(protocol, transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def note(protocol: WebsocketProtocol) -> None:
        answer(protocol)
        buffered.append(protocol.transport.get_write_buffer_size())

    monkeypatch.setattr(WebsocketProtocol, "connection_made", narrow)
    monkeypatch.setattr(WebsocketProtocol, "handle_ping", note)
    async with running(config_in(tmp_path)) as addresses:
        async with connected(port_of(addresses.signaling_url)) as stream:
            await shake_hands(stream)
            stream[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stop_reading(stream)
            with contextlib.suppress(ConnectionError):
                while not stream[1].is_closing():
                    stream[1].write(frame(9, b"x" * 125) * 100)
                    await stream[1].drain()
    assert 60_000 < max(buffered) <= 65536 + READ_BYTES
    assert len(buffered) > buffered.index(max(buffered)) + 1
