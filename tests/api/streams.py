"""Raw TCP connections to a server under test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def port_of(url: str) -> int:
    """Return the port of a URL, or of HOST:PORT."""
    return int(url.rsplit("//", maxsplit=1)[-1].split("/", maxsplit=1)[0].rpartition(":")[2])


@contextlib.asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator[Stream]:
    """Connect until the end of the context."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the other end closes; b"" where it resets."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a length: status, headers, body. Raises asyncio.IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


async def status_of(stream: Stream, head: bytes = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n") -> int:
    """Send a request; return the status, 0 where the connection is closed without a response."""
    reader, writer = stream
    try:
        writer.write(head)
        return (await read_answer(reader))[0]
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0


def stop_reading(stream: Stream) -> None:
    """Stop reading, so that the kernel's buffers fill."""
    transport = stream[1].transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()


def start_reading(stream: Stream) -> None:
    """Read again."""
    transport = stream[1].transport
    assert isinstance(transport, asyncio.Transport)
    transport.resume_reading()
