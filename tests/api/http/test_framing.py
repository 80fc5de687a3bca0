"""The parser of requests, alone and in both ports of the real daemon."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.daemon import Addresses, running
from rokuga.api.http.framing import MAX_HEAD_BYTES, MAX_SMALL_CHUNKS, End, RequestReader
from rokuga.api.http.request_head import MAX_FIELDS, Head, MalformedRequest
from tests.api.serving import config_in
from tests.api.streams import all_of, connected, port_of, read_answer

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
START = b'{"channel_id":"smuggled","expire_time":60}'
SMUGGLED = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nx-sora-target: Sora_20161101.StartRecording\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(START), START)
)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"

AMBIGUOUS = {
    # https://portswigger.net/web-security/request-smuggling
    "CL.TE": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\nhellohello",
    "a length with a fraction": POST + b"Content-Length: 5.0\r\n\r\nhello",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "an endless length": POST + b"Content-Length: %b\r\n\r\n" % (b"9" * 40),
    # https://portswigger.net/research/http-desync-attacks-request-smuggling-reborn
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "TE chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "TE gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "TE identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "TE with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "TE empty": POST + b"Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
    "TE of HTTP/1.0": b"POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": POST + b"Content-Length\t: 5\r\n\r\nhello",
    "a folded header": POST + b"X: a\r\n Content-Length: 5\r\n\r\nhello",
    "a folded first header": b"POST / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a header without a colon": POST + b"Content-Length 5\r\n\r\nhello",
    "a header without a name": POST + b": 5\r\n\r\n",
    "NUL in a value": POST + b"X: a\0b\r\n\r\n",
    "NUL in a name": POST + b"X\0: a\r\n\r\n",
    "bare CR in a value": POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "bare LF in a value": POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lines that end in LF": b"POST / HTTP/1.1\nHost: localhost\n\n",
    "an empty line that ends in LF": POST + b"\n",
    "CR CR LF": POST + b"X: a\r\r\n\r\n",
    # https://w4ke.info/2025/06/18/funky-chunks.html
    "LF in a chunk's extension": POST + b"Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n4c\r\n0\r\n\r\n",
    "LF after a chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "CR in a chunk's extension": POST + b"Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
    "LF after a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "a chunk's size with 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "a negative chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk's size with a space before": POST + b"Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with a space behind": POST + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "an empty chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nhello",
    "a chunk's size that overflows": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello",
    "an endless extension": POST + b"Transfer-Encoding: chunked\r\n\r\n5;a=" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "a wrong trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX : a\r\n\r\n",
    "two spaces in the line": b"POST  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tab in the line": b"POST\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the target": b"POST / x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space behind the line": b"POST / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "a space before the line": b" POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a fragment": b"GET /#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "other bytes than ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target without a slash": b"GET livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target of another host": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a WebSocket with a body": b"POST /signaling HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    "a GET for a WebSocket with a body": b"GET /signaling HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Content-Length: 5\r\n\r\nhello",
}
VERSIONS = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
}


def read(stream: bytes, step: int | None = None) -> list[Head | bytes | End]:
    """Read a stream, `step` bytes at a time; pieces of one body are joined."""
    reader = RequestReader()
    found: list[Head | bytes | End] = []
    step = step or max(len(stream), 1)
    for place in range(0, len(stream), step):
        reader.receive(stream[place : place + step])
        while (one := reader.next()) is not None:
            if isinstance(one, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += one
            else:
                found.append(one)
    return found


def head_of(stream: bytes) -> Head:
    found = read(stream)[0]
    assert isinstance(found, Head)
    return found


def body_of(stream: bytes, step: int | None = None) -> bytes:
    _, *pieces, end = read(stream, step)
    assert end is End.OF_REQUEST
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize("stream", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("step", [None, 1])
def test_ambiguous_requests_are_refused(stream: bytes, step: int | None) -> None:
    with pytest.raises(MalformedRequest) as raised:
        read(stream, step)
    assert raised.value.status == 400


@pytest.mark.parametrize("stream", VERSIONS.values(), ids=VERSIONS)
def test_other_versions_are_refused(stream: bytes) -> None:
    with pytest.raises(MalformedRequest) as raised:
        read(stream)
    assert raised.value.status == 505


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize(
    ("stream", "body"),
    [
        (POST + b"\r\n", b""),
        (POST + b"Content-Length: 0\r\n\r\n", b""),
        (POST + b"content-length:\t5 \r\n\r\nhello", b"hello"),
        (POST + b"Content-Length: 05\r\n\r\nhello", b"hello"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n", b"hello"),
        (POST + b'Transfer-Encoding: chunked\r\n\r\n5;a;b=c;d="e\\"f"\r\nhello\r\n0;x\r\nX: y\r\n\r\n', b"hello"),
        (b"\r\n" + POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (POST + H2C + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (POST + H2C + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (POST + b"Connection: upgrade\r\nUpgrade: TLS/1.3, quux\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ],
)
def test_bodies_are_read_completely(stream: bytes, body: bytes, step: int | None) -> None:
    assert body_of(stream, step) == body


def test_consecutive_requests_are_read_in_order() -> None:
    found = read(POST + b"Content-Length: 2\r\n\r\nhi" + POST + b"\r\n")
    assert [type(one) for one in found] == [Head, bytes, End, Head, End]


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET /a?b=%2F HTTP/1.1", b"/a?b=%2F"),
        (b'GET /{a}|"b"\\ HTTP/1.1', b'/{a}|"b"\\'),
        (b"GET http://LOCALHOST/a?b HTTP/1.1", b"/a?b"),
        (b"GET http://localhost HTTP/1.1", b"/"),
        (b"OPTIONS * HTTP/1.1", b"*"),
    ],
)
def test_a_target_is_path_and_query(line: bytes, target: bytes) -> None:
    assert head_of(line + b"\r\nHost: localhost\r\n\r\n").target == target


@pytest.mark.parametrize(
    ("version", "connection", "keeps_alive"),
    [(b"1.1", b"", True), (b"1.1", b"x, Close", False), (b"1.0", b"keep-alive", False)],
)
def test_a_connection_is_kept_unless_one_side_wants_it_closed(
    version: bytes, connection: bytes, keeps_alive: bool
) -> None:
    head = head_of(b"GET / HTTP/%b\r\nHost: localhost\r\nConnection: %b\r\n\r\n" % (version, connection))
    assert head.keeps_alive is keeps_alive


def test_a_probe_of_http_1_0_needs_no_host() -> None:
    assert head_of(b"GET /livez HTTP/1.0\r\n\r\n").headers == []


def test_what_follows_a_handshake_is_kept_for_the_websocket() -> None:
    reader = RequestReader()
    reader.receive(
        b"GET /signaling HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x89"
    )
    head = reader.next()
    assert isinstance(head, Head)
    assert head.asks_for_websocket
    assert reader.next() is None
    assert reader.rest() == b"\x89"


@pytest.mark.parametrize(
    "stream",
    [
        b"GET /" + b"a" * (MAX_HEAD_BYTES + 1),
        POST + b"X: a\r\n" * (MAX_FIELDS + 1) + b"\r\n",
        POST + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_too_long_is_refused(stream: bytes) -> None:
    with pytest.raises(MalformedRequest) as raised:
        read(stream, 4096)
    assert raised.value.status == 431


def test_many_small_chunks_are_refused() -> None:
    with pytest.raises(MalformedRequest) as raised:
        read(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (MAX_SMALL_CHUNKS + 70))
    assert raised.value.status == 413
    large = b"400\r\n%b\r\n" % (b"x" * 1024)
    assert len(body_of(POST + b"Transfer-Encoding: chunked\r\n\r\n" + large * 5000 + b"0\r\n\r\n")) == 5000 * 1024


@given(st.lists(st.sampled_from([POST, *AMBIGUOUS.values(), b"\r\n", b"\0", b"GET / HTTP/1.1\r\n"]) | st.binary()))
def test_any_stream_has_the_same_result_however_it_is_split(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)

    def outcome(step: int | None) -> object:
        try:
            return read(stream, step)
        except MalformedRequest as fault:
            return type(fault)

    assert outcome(None) == outcome(1) == outcome(5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    async with running(config_in(tmp_path_factory.mktemp("framing"))) as addresses:
        yield addresses


def _ports(daemon: Addresses) -> list[int]:
    return [port_of(daemon.api_url), port_of(daemon.signaling_url)]


async def _call(port: int, target: bytes, body: bytes) -> tuple[int, bytes]:
    async with connected(port) as (reader, writer):
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nx-sora-target: Sora_20161101.%b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (target, len(body)) + body)
        status, _, answer = await read_answer(reader)
        return status, answer


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [*AMBIGUOUS.values(), *VERSIONS.values()], ids=[*AMBIGUOUS, *VERSIONS])
async def test_no_request_is_smuggled_into_a_port(daemon: Addresses, stream: bytes) -> None:
    """Each is answered with 400 and closed, and bytes after it are ignored; in one segment and in two."""
    for port in _ports(daemon):
        for cut in (len(stream), stream.find(b"\r\n\r\n") + 4):
            async with connected(port) as (reader, writer):
                writer.write(stream[:cut])
                await asyncio.sleep(0)
                writer.write(stream[cut:] + SMUGGLED)
                answered = await all_of(reader)
            assert answered.count(b"HTTP/1.1 ") <= 1
            assert answered[9:12] in {b"400", b"505"}, answered
            assert b"connection: close" in answered
            assert b"x-content-type-options: nosniff" in answered
    stop = b'{"channel_id":"smuggled"}'
    assert (await _call(port_of(daemon.api_url), b"StopRecording", stop))[0] == 400


def _offering_h2c(headers: bytes, body: bytes) -> bytes:
    return POST + b"x-sora-target: Sora_20161101.StartRecording\r\n" + H2C + headers + b"\r\n" + body


@pytest.mark.asyncio(loop_scope="module")
async def test_an_h2c_upgrade_is_ignored(daemon: Addresses) -> None:
    """https://github.com/Kludex/uvicorn/issues/2722."""
    body = b'{"channel_id":"h2c","expire_time":60}'
    length = _offering_h2c(b"Content-Length: %d\r\n" % len(body), body)
    chunked = _offering_h2c(
        b"Transfer-Encoding: chunked\r\n",
        b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:]),
    )
    stop = b'{"channel_id":"h2c"}'
    head = b"x-sora-target: Sora_20161101.StopRecording\r\nContent-Length: %d\r\n\r\n"
    stopping = POST + head % len(stop) + stop
    for start in (length, chunked):
        for cut in (len(start), start.find(b"\r\n\r\n") + 4):
            async with connected(port_of(daemon.api_url)) as (reader, writer):
                writer.write(start[:cut])
                await asyncio.sleep(0.05 if cut < len(start) else 0)  # so that it comes in two segments
                writer.write(start[cut:])
                status, _, answer = await read_answer(reader)
                assert (status, b"recording_id" in answer) == (200, True)
                writer.write(stopping)
                assert (await read_answer(reader))[0] == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_looks_like_a_request_is_a_body(daemon: Addresses) -> None:
    offer = _offering_h2c(b"Content-Length: %d\r\n" % len(SMUGGLED), b"")
    async with connected(port_of(daemon.api_url)) as (reader, writer):
        writer.write(offer)
        await asyncio.sleep(0.05)  # so that it comes in two segments
        writer.write(SMUGGLED)
        assert (await read_answer(reader))[0] == 400
    assert (await _call(port_of(daemon.api_url), b"StopRecording", b'{"channel_id":"smuggled"}'))[0] == 400


@pytest.mark.asyncio(loop_scope="module")
async def test_pipelined_requests_are_answered_in_order(daemon: Addresses) -> None:
    for port in _ports(daemon):
        async with connected(port) as (reader, writer):
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
            assert [(await read_answer(reader))[0] for _ in range(300)] == [404] * 300


@pytest.mark.asyncio(loop_scope="module")
async def test_100_continue_is_sent_unless_the_head_is_refused(daemon: Addresses) -> None:
    """https://github.com/yhirose/cpp-httplib/issues/349."""
    body = b'{"channel_id":"expect","expire_time":60,"metadata":"%b"}' % (b"x" * 2000)
    head = b"x-sora-target: Sora_20161101.StartRecording\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    async with connected(port_of(daemon.api_url)) as (reader, writer):
        writer.write(POST + head % len(body))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_answer(reader))[0] == 200
    async with connected(port_of(daemon.api_url)) as (reader, writer):
        writer.write(POST.replace(b"localhost", b"evil.example") + head % len(body))
        answered = await all_of(reader)
        assert answered.startswith(b"HTTP/1.1 421")
        assert b"connection: close" in answered


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/metrics"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_probe_of_http_1_0_without_a_host_is_answered(daemon: Addresses, path: bytes, method: bytes) -> None:
    """https://github.com/http-party/node-http-proxy/pull/1050."""
    async with connected(port_of(daemon.api_url)) as (reader, writer):
        writer.write(b"%b %b HTTP/1.0\r\n\r\n" % (method, path))
        answered = await all_of(reader)
    assert answered[9:12] in {b"200", b"503" if path == b"/readyz" else b""}
    assert b"chunked" not in answered


@pytest.mark.asyncio(loop_scope="module")
async def test_api_requests_need_a_host(daemon: Addresses) -> None:
    async with connected(port_of(daemon.api_url)) as (reader, writer):
        head = b"POST / HTTP/1.0\r\nx-sora-target: Sora_20161101.StartRecording\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(START) + START)
        status, _, answer = await read_answer(reader)
    assert (status, answer) == (421, b'{"error_type":"HOST-NOT-ALLOWED"}')
    assert (await _call(port_of(daemon.api_url), b"StopRecording", b'{"channel_id":"smuggled"}'))[0] == 400


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "stream",
    [
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /admin/state HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
        b"POST /whip/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n",
        b"GET /" + b"a" * 70000,
        b"nonsense\r\n\r\n",
        *(
            b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % handshake
            for handshake in (
                (b"/signaling", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
                (b"/nothing", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
                (b"/signaling", b"Sec-WebSocket-Version: 12\r\n"),
                (b"/signaling", b""),
            )
        ),
    ],
)
async def test_every_answer_has_the_protective_headers_once(daemon: Addresses, stream: bytes) -> None:
    for port in _ports(daemon):
        async with connected(port) as (reader, writer):
            writer.write(stream)
            head = await reader.readuntil(b"\r\n\r\n")
        for header in (b"x-content-type-options: nosniff", b"x-frame-options: deny", b"referrer-policy: no-referrer"):
            assert head.lower().count(header) == 1, head
