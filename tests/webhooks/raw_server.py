"""A consumer that speaks bytes: it notes each request's line and connection, and answers as the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n" + b'{"allowed":true}'


@dataclass(frozen=True)
class Request:
    """One request: on which connection (from 1), the how-manieth on it (from 1), its request line and its body."""

    connection: int
    number: int
    line: str
    body: bytes


Answer = Callable[[Request], bytes | None]
"""Bytes to answer with, None to close the connection."""


@dataclass
class RawServer:
    """Where it listens and what has come."""

    answer: Answer
    origin: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, until it or the test ends it."""
        task = asyncio.current_task()
        assert task is not None
        self.serving[task] = writer
        self.connections += 1
        connection = self.connections
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number += 1
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                body = await reader.readexactly(int(headers["content-length"]))
                request = Request(connection, number, head.split("\r\n")[0], body)
                self.requests.append(request)
                answer = self.answer(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving_bytes(answer: Answer) -> AsyncIterator[RawServer]:
    """Listen on a free port of the loopback."""
    raw = RawServer(answer)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        for writer in raw.serving.values():
            writer.close()
        await asyncio.gather(*raw.serving)
