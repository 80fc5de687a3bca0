"""Requests over real sockets to both ports: framing, headers, and floods of connections."""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rokuga.api.daemon import running
from tests.api.serving import config_in

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


class Line:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, *pieces: bytes) -> tuple[int, bytes]:
        """Send pieces separately; return status and body of the next response."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        return int(head.split()[1]), await self.reader.readexactly(int(length[1]) if length else 0)


@contextlib.asynccontextmanager
async def line(address: str) -> AsyncIterator[Line]:
    """Connect to `//HOST:PORT/...`."""
    host, port = address.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


def call(operation: str, body: bytes, more: bytes = b"", *, length: bool = True) -> tuple[bytes, bytes]:
    """Return head and body of an API request."""
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nx-sora-target: Sora_20161101.%b\r\n" % operation.encode() + more
    return head + (b"Content-Length: %d\r\n\r\n" % len(body) if length else b"\r\n"), body


def start(channel: str) -> bytes:
    return b'{"channel_id":"%b","expire_time":60}' % channel.encode()


async def test_an_offer_of_h2c_is_ignored_and_the_body_stays_whole(tmp_path: Path) -> None:
    """RFC 9110 section 7.8; https://github.com/Kludex/uvicorn/issues/2722."""
    async with running(config_in(tmp_path)) as daemon, line(daemon.api_url) as api:
        head, body = call("StartRecording", start("one"), H2C)
        assert (await api.answer(head + body))[0] == 200
        head, body = call("StartRecording", start("two"), H2C)
        assert (await api.answer(head, body))[0] == 200
        chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            5,
            start("three")[:5],
            len(start("three")) - 5,
            start("three")[5:],
        )
        head, _ = call("StartRecording", b"", H2C + b"Transfer-Encoding: chunked\r\n", length=False)
        assert (await api.answer(head + chunks))[0] == 200
        head, body = call("StopRecording", b'{"channel_id":"one"}')
        assert (await api.answer(head + body))[0] == 200


@pytest.mark.parametrize("token", [b"h2c", b"foo", b"websocket"])
async def test_a_request_inside_of_a_body_is_not_executed(tmp_path: Path, token: bytes) -> None:
    """In one segment with the head, or after it: it is the body of a request that fails."""
    async with running(config_in(tmp_path)) as daemon:
        inner = b"".join(call("StartRecording", start("smuggled")))
        more = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % token
        head, body = call("GetStartedRecording", inner, more)
        for pieces in ([head + body], [head, body]):
            async with line(daemon.api_url) as api:
                assert (await api.answer(*pieces))[0] == 400
        async with line(daemon.api_url) as api:
            assert (await api.answer(*call("ListStartedRecording", b"{}"))) == (200, b"[]")


async def test_a_websocket_upgrade_by_post_is_refused(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as daemon, line(daemon.signaling_url) as signaling:
        request = b"POST /signaling HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        status, _ = await signaling.answer(request + b"Content-Length: 5\r\n\r\nhello")
        assert status == 400
        assert await signaling.reader.read() == b""


async def test_probes_of_http_1_0_need_no_host(tmp_path: Path) -> None:
    """https://github.com/http-party/node-http-proxy/pull/1050; API requests need a Host."""
    async with running(config_in(tmp_path)) as daemon:
        for path in (b"livez", b"readyz", b"metrics"):
            async with line(daemon.api_url) as api:
                assert (await api.answer(b"GET /%b HTTP/1.0\r\n\r\n" % path))[0] == 200
                assert await api.reader.read() == b""
        async with line(daemon.api_url) as api:
            assert (await api.answer(b"GET /livez HTTP/1.1\r\n\r\n"))[0] == 400
        async with line(daemon.api_url) as api:
            head, body = call("StartRecording", start("none"))
            without = head.replace(b"HTTP/1.1\r\nHost: 127.0.0.1", b"HTTP/1.0")
            assert (await api.answer(without + body))[0] == 421


async def test_every_answer_has_the_same_protective_headers(tmp_path: Path) -> None:
    """Responses, refusals, malformed requests and a refused WebSocket, on both ports."""
    requests = [
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /signaling HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: null\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 12\r\n\r\n" % base64.b64encode(bytes(16)),
    ]
    async with running(config_in(tmp_path)) as daemon:
        for url in (daemon.api_url, daemon.signaling_url):
            for request in requests:
                async with line(url) as connected:
                    connected.writer.write(request)
                    head = (await connected.reader.readuntil(b"\r\n\r\n")).lower()
                    for name in (
                        b"x-content-type-options: nosniff",
                        b"x-frame-options:",
                        b"referrer-policy: no-referrer",
                    ):
                        assert name in head, (request, head)


async def test_silent_connections_keep_nobody_out(tmp_path: Path) -> None:
    """Far more than the limit: the oldest silent ones are closed, verified ones stay."""
    async with running(config_in(tmp_path, max_connections="40")) as daemon, line(daemon.api_url) as caller:
        get = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert (await caller.answer(get))[0] == 200
        async with contextlib.AsyncExitStack() as silent:
            for _ in range(100):
                await silent.enter_async_context(line(daemon.api_url))
            async with line(daemon.api_url) as newcomer:
                assert (await newcomer.answer(get))[0] == 200
            assert (await caller.answer(get))[0] == 200


async def test_local_clients_have_no_rate_limit(tmp_path: Path) -> None:
    """Consecutive connections, many more than another address may open in that time."""
    async with running(config_in(tmp_path, max_connects_per_second="50")) as daemon:
        get = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        for _ in range(200):
            async with line(daemon.api_url) as caller:
                assert (await caller.answer(get))[0] == 200


async def test_pings_with_unread_pongs_do_not_fill_the_memory(tmp_path: Path) -> None:
    """The daemon stops reading, so that the client cannot send."""
    async with running(config_in(tmp_path)) as daemon, line(daemon.signaling_url) as flood:
        flood.writer.write(
            b"GET /signaling HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % base64.b64encode(bytes(16))
        )
        await flood.reader.readuntil(b"\r\n\r\n")
        ping = b"\x89\xfd" + bytes(4) + bytes(125)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                flood.writer.write(ping * 500)
                async with asyncio.timeout(0.5):
                    await flood.writer.drain()
                sent += 500 * len(ping)
        assert sent < 64 << 20, "the kernel's buffers take a few MB; the daemon would have taken it all"
