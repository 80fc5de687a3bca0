"""The active end of ICE-TCP in tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aioice.stun import Class, parse_message

from rokuga.recorder.webrtc.transport.media_port import MediaPort
from tests.recorder.webrtc.udp_client import check


def frame(data: bytes) -> bytes:
    """Return a datagram in a frame (RFC 4571)."""
    return len(data).to_bytes(2, "big") + data


class TcpClient:
    """An active end, which sends datagrams in frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *datagrams: bytes) -> None:
        """Send datagrams, each in a frame, in one write."""
        self.writer.write(b"".join(frame(datagram) for datagram in datagrams))

    async def receive(self) -> bytes:
        """Return the next datagram."""
        return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(2), "big"))

    async def validate(self, ufrag: str) -> None:
        """Validate this connection for the peer with this ufrag."""
        self.send(check(ufrag))
        assert parse_message(await self.receive()).message_class == Class.RESPONSE

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; data before it is dropped."""
        with contextlib.suppress(ConnectionResetError):
            while await self.reader.read(65536):
                pass
        return True


@contextlib.asynccontextmanager
async def connected(port: MediaPort, host: str = "127.0.0.1") -> AsyncIterator[TcpClient]:
    """Connect; abort at the end."""
    reader, writer = await asyncio.open_connection(host, port.port)
    try:
        yield TcpClient(reader, writer)
    finally:
        writer.transport.abort()
