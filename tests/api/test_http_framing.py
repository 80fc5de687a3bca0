"""Where one request ends and the next begins, no more leniently than RFC 9112 says."""

from collections.abc import Iterator, Sequence

import pytest

from rokuga.api.http_framing import (
    MAX_CHUNK_LINE_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    End,
    Head,
    Malformed,
    RequestReader,
)

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
START = b'{"channel_id":"smuggled","expire_time":60}'
SOCKET = b" /signaling HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"


def read(*pieces: bytes) -> Iterator[Head | bytes | End]:
    """Give what a reader finds in pieces that come one after the other."""
    reader = RequestReader()
    for piece in pieces:
        reader.receive(piece)
        while (found := reader.next()) is not None:
            yield found


def bodies(*pieces: bytes) -> Sequence[bytes]:
    """Give the body of each request."""
    whole, body = [], b""
    for found in read(*pieces):
        if isinstance(found, bytes):
            body += found
        elif isinstance(found, End):
            whole.append(body)
            body = b""
    return whole


FORMS = {
    "no body": (POST + b"\r\n", [b""]),
    "a length": (POST + b"Content-Length: 5\r\n\r\nhello", [b"hello"]),
    "chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
        [b"hello world"],
    ),
    "trailers": (POST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", [b"a"]),
    "one behind the other": (
        POST + b"Content-Length: 1\r\n\r\na" + POST + b"Content-Length: 1\r\n\r\nb",
        [b"a", b"b"],
    ),
    "an upgrade that is not supported": (
        POST + H2C + b"Content-Length: 2\r\n\r\nhi",
        [b"hi"],
    ),
    "an empty line before": (b"\r\n" + POST + b"Content-Length: 1\r\n\r\na", [b"a"]),
    "a target with its host": (b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", [b""]),
    "no Host in HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", [b""]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_request_is_the_same_in_one_piece_and_byte_by_byte(form: str) -> None:
    data, expected = FORMS[form]
    assert bodies(data) == expected
    assert bodies(*(data[place : place + 1] for place in range(len(data)))) == expected


def test_a_body_that_is_a_request_stays_a_body() -> None:
    inner = POST + b"Content-Length: %d\r\n\r\n%b" % (len(START), START)
    for upgrade in (b"h2c", b"websocket, h2c", b"TLS/1.0", b"foo"):
        head = POST + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: %d\r\n\r\n" % (upgrade, len(inner))
        assert bodies(head + inner) == [inner]
        assert bodies(head, inner) == [inner]


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLING = {
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a huge length": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an odd coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a vertical tab in a coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"X: y\r\n Content-Length: 5\r\n\r\nhello",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a line without CR": POST + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "a head without CR": b"POST / HTTP/1.1\nHost: a\n\n",
    "a CR within a line": POST + b"X: y\rContent-Length: 5\r\n\r\nhello",
    "a NUL": POST + b"X: y\0\r\n\r\n",
    "a header without a name": POST + b": y\r\n\r\n",
    "a header without a colon": POST + b"Content-Length 5\r\n\r\n",
    "two hosts": POST + b"Host: b\r\n\r\n",
    "no host": b"POST / HTTP/1.1\r\n\r\n",
    "another host in the target": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces in the request line": b"POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"POST /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the request line": b"POST\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"POST /\r\nHost: a\r\n\r\n",
    "another version": b"POST / HTTP/2.0\r\nHost: a\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "what is no HTTP": b"\x16\x03\x01\x02\x00\x01",
    "a chunk with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk with a space": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "a chunk without CR": CHUNKED + b"5\nhello\n0\n\n",
    "a chunk longer than it says": CHUNKED + b"5\r\nhello, world\r\n0\r\n\r\n",
    "a chunk of an immense size": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n",
    "a chunk whose extension hides a line": CHUNKED + b"5;\nxx\r\nhello\r\n0\r\n\r\n",
    "a chunk with a long extension": CHUNKED + b"5;" + b"x" * MAX_CHUNK_LINE_BYTES + b"\r\n",
    "trailers that are none": CHUNKED + b"0\r\nnot a header\r\n\r\n",
    "a WebSocket with a body": b"GET" + SOCKET + b"Content-Length: 5\r\n\r\nhello",
    "a WebSocket by POST": b"POST" + SOCKET + b"\r\n",
    "a head that is too long": POST + b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
    "too many headers": POST + b"X: y\r\n" * MAX_FIELDS + b"\r\n",
}


@pytest.mark.parametrize("vector", SMUGGLING)
def test_what_could_be_read_in_two_ways_is_refused(vector: str) -> None:
    """The vectors of https://portswigger.net/web-security/request-smuggling and of RFC 9112 section 11.2."""
    data = SMUGGLING[vector]
    for pieces in ([data], [data[place : place + 7] for place in range(0, len(data), 7)]):
        with pytest.raises(Malformed):
            list(read(*pieces))


def test_what_a_head_says_is_read_once() -> None:
    (head, end) = read(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(head, Head)
    assert (head.method, head.target, head.version, head.keeps_alive) == (b"POST", b"/", "1.1", False)
    assert not head.has_body
    assert not head.expects_continue
    assert end is End.OF_REQUEST
