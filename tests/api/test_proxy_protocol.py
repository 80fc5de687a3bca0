"""The PROXY protocol: both versions in one piece and torn, and what only looks like it."""

import pytest

from rokuga.api.proxy_protocol import MalformedProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 5000\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([203, 0, 113, 7, 10, 0, 0, 1]) + b"\x12\x67\x13\x88"
V2_IPV6 = (
    SIGNATURE + b"\x21\x21\x00\x24" + bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + b"\x12\x67\x13\x88"
)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, ("203.0.113.7", 4711)),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 5000\r\n", ("2001:db8::7", 4711)),
        (b"PROXY UNKNOWN\r\n", None),
        (V2, ("203.0.113.7", 4711)),
        (V2_IPV6, ("2001:db8:0:0:0:0:0:7", 4711)),
        (SIGNATURE + b"\x20\x00\x00\x00", None),
        (SIGNATURE + b"\x21\x31\x00\x02ab", None),
    ],
)
def test_a_header_says_who_connected_in_one_piece_or_torn(header: bytes, client: tuple[str, int] | None) -> None:
    assert read_proxy_header(header + b"GET / HTTP/1.1\r\n") == ProxyHeader(len(header), client)
    for length in range(1, len(header)):
        assert read_proxy_header(header[:length]) is None


def test_a_request_has_no_header() -> None:
    for data in (b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"\x16\x03\x01", b"PUT"):
        assert read_proxy_header(data) == ProxyHeader(0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
        b"PROXY TCP4 203.0.113.007 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 99999 2\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x2f\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_begins_like_one_and_goes_on_otherwise_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedProxyHeader):
        read_proxy_header(data)
