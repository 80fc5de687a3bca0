"""The parser of the PROXY protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.http.proxy_protocol import MalformedProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 1, 10, 0, 0, 1]) + b"\x12\x34\x0b\xb8"
IPV6 = SIGNATURE + b"\x21\x21\x00\x24" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + bytes(16) + b"\x12\x34\x0b\xb8"
V1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 3000\r\n"
GET = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, ("192.0.2.1", 4660)),
        (b"PROXY TCP6 2001:db8::1 ::1 4660 3000\r\n", ("2001:db8::1", 4660)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff 1 2\r\n", None),
        (IPV4, ("192.0.2.1", 4660)),
        (IPV6, ("2001:db8:0:0:0:0:0:1", 4660)),
        (SIGNATURE + b"\x21\x11\x00\x0f" + IPV4[16:] + b"\x04\x00\x00", ("192.0.2.1", 4660)),
        (SIGNATURE + b"\x20\x00\x00\x00", None),
        (SIGNATURE + b"\x21\x31\x00\x00", None),
    ],
)
def test_a_valid_header_has_the_client(header: bytes, client: tuple[str, int] | None) -> None:
    assert read_proxy_header(header + GET) == ProxyHeader(len(header), client)
    for end in range(len(header)):
        assert read_proxy_header(header[:end]) is None


@pytest.mark.parametrize("data", [GET, b"PROXX", b"\x16\x03\x01", b"\r\nGET", b"P "])
def test_other_bytes_are_no_header(data: bytes) -> None:
    assert read_proxy_header(data) == ProxyHeader(0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4660\r\n",
        b"PROXY TCP4 192.0.2.01 10.0.0.1 4660 3000\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 4660 3000\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 4660 3000\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 66000 3000\r\n",
        b"PROXY tcp4 192.0.2.1 10.0.0.1 4660 3000\r\n",
        b"PROXY TCP4 " + b"1" * 100,
        SIGNATURE + b"\x11\x11\x00\x0c" + IPV4[16:],
        SIGNATURE + b"\x22\x11\x00\x0c" + IPV4[16:],
        SIGNATURE + b"\x21\x11\x00\x04" + IPV4[16:],
        SIGNATURE + b"\x21\x11\xff\xff" + IPV4[16:],
    ],
)
def test_an_invalid_header_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedProxyHeader):
        read_proxy_header(data)


@given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=600))
def test_any_bytes_are_parsed_or_refused(begin: bytes, data: bytes) -> None:
    try:
        header = read_proxy_header(begin + data)
    except MalformedProxyHeader:
        return
    assert header is None or header.length <= len(begin + data)
